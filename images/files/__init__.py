"""One walk over a whole file per format, before anything is decoded."""
