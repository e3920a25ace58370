"""One folder per runtime behind one small Protocol."""
