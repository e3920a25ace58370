"""Where the images of a data set come from: files, rows of Parquet files, members of tars."""
