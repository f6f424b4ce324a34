"""What can be set about the text encoder."""

from typing import Literal

from pydantic import Field, JsonValue

from moodlens.settings.base import Frozen

_ASKING: dict[str, JsonValue] = {"in_key": False}  # how it is asked does not change what it answers


class EmbeddingEndpoint(Frozen):
    """An endpoint that gives embeddings as OpenAI's ``/embeddings`` does, and how it is asked."""

    url: str = Field(description="base address, such as http://localhost:11434/v1; /embeddings is added")
    key_env: str | None = Field(
        default=None,
        description="environment variable that holds the key; none sends no key",
        json_schema_extra=_ASKING,
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        description="width that is asked for, where the model offers several; none: its own",
    )
    max_characters: int = Field(
        default=8000,
        ge=100,
        description="of a text that is sent at once; long_texts says what is done with more (characters)",
    )
    max_tokens: int = Field(
        default=0,
        ge=0,
        description="tokens that may be sent in one run, estimated at four bytes each, cached texts not counted; 0: none, and "
        "what would be sent is said",
        json_schema_extra=_ASKING,
    )
    price: float | None = Field(
        default=None,
        ge=0,
        description="of a million tokens, in any currency, to say what it costs",
        json_schema_extra=_ASKING,
    )
    cache: str | None = Field(
        default=None,
        description="file that keeps every row by its text; none: embeddings.sqlite in the user's cache folder",
        json_schema_extra=_ASKING,
    )
    batch: int = Field(
        default=128, ge=1, le=2048, description="texts in one request (count)", json_schema_extra=_ASKING
    )
    parallel: int = Field(
        default=4,
        ge=1,
        le=64,
        description="requests that wait for an answer at the same time (count)",
        json_schema_extra=_ASKING,
    )
    timeout: float = Field(
        default=60.0, gt=0, description="seconds to wait for one answer", json_schema_extra=_ASKING
    )
    retries: int = Field(
        default=5,
        ge=0,
        description="further attempts when the endpoint is busy or does not answer",
        json_schema_extra=_ASKING,
    )
    pause: float = Field(
        default=1.0,
        ge=0,
        description="seconds before the first further attempt; doubled each time",
        json_schema_extra=_ASKING,
    )


class EncoderSettings(Frozen):
    """Which text encoder, and how it is run."""

    id: str = Field(
        default="minilm",
        description="minilm; t5:, musicgen:, t5gemma:, clap:, hf: or st: and a folder or a repository of the hub; api:MODEL; "
        "the name of a plug-in; or precomputed",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="auto: bfloat16 only where it is fast and agrees with float32 on the first texts",
    )
    long_texts: Literal["parts", "cut", "error"] = Field(
        default="parts",
        description="texts of more tokens than the encoder reads at once: read in parts whose tokens are averaged; "
        "cut; or an error",
    )
    pooling: Literal["mean", "cls", "last"] | None = Field(
        default=None,
        description="hf: what makes a text's row: the mean of its token states, the first or the last one; the others know "
        "their own",
    )
    unit: bool | None = Field(
        default=None, description="whether rows are made of norm 1; none: as the encoder was trained"
    )
    revision: str | None = Field(
        default=None, description="commit, tag or branch of the hub's repository; none: its main branch"
    )
    api: EmbeddingEndpoint | None = Field(default=None, description="api: the endpoint")
    shard_rows: int = Field(default=65_536, ge=1, description="rows in one shard of the embedding store")
