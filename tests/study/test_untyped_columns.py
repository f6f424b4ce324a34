"""A column in which no row has a value."""

import polars as pl

from moodlens.study.record import Column, TableSchema


def test_a_column_without_a_value_keeps_its_type(tmp_path):
    schema = TableSchema(
        file="t.parquet",
        stage="features",
        columns={
            "feature": Column("Int64", "", "number"),
            "emotion": Column("String", "", "where it leans to"),
        },
    )
    schema.write(tmp_path, pl.DataFrame({"feature": [1, 2], "emotion": [None, None]}))
    assert schema.read(tmp_path)["emotion"].dtype == pl.String
