"""What a site configures for its media pairs."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from sheaf.media.methods import DEFAULT_METHODS, Method, Model


class MediaSettings(BaseModel):
    """Settings of the media domain.

    Attributes:
        roots: folders that may be read, and below which relative paths of a CSV are looked for;
            when empty, the folder of the CSV.
        methods: used where a row names none.
        models: ONNX files for `wav2vec2` and `yamnet`.
        parallel_jobs: pairs analysed at the same time, where the batch doesn't say.
        timeout_seconds: wall time for one pair, where the batch doesn't say.
        cluster: address of a Dask scheduler that analyses the pairs, such as `tcp://10.0.0.5:8786`;
            without one they are analysed in the run itself.
        max_hours: longest sound that is accepted; bounds the scratch space (115 MB per hour and channel).
        webhook_hosts: hosts that may be told of a finished batch; none by default.
        webhook_private: whether those hosts may have private or loopback addresses.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    roots: tuple[Path, ...] = ()
    methods: tuple[Method, ...] = Field(default=DEFAULT_METHODS, min_length=1)
    models: dict[Model, Path] = {}
    parallel_jobs: int = Field(default=2, ge=1, le=64)
    timeout_seconds: float = Field(default=300.0, gt=0)
    cluster: str | None = None
    max_hours: float = Field(default=4.0, gt=0)
    webhook_hosts: tuple[str, ...] = ()
    webhook_private: bool = False
