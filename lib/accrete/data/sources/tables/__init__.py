"""Tables of images and labels: Parquet, Arrow, CSV and lists; `table_source` is the source,
`table` an open file, `rows` what it offers."""
