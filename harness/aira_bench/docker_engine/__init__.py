"""A thin typed layer over the Docker Engine API; the only package that imports the Docker SDK. Internal."""

from aira_bench.docker_engine.attachment import Attachment
from aira_bench.docker_engine.engine import ContainerInfo, DockerEngine, EngineInfo
from aira_bench.docker_engine.failures import Conflict, NotThere
from aira_bench.docker_engine.images import ImageDetails, ImageInfo

__all__ = [
    "Attachment", "Conflict", "ContainerInfo", "DockerEngine", "EngineInfo", "ImageDetails", "ImageInfo", "NotThere",
]  # fmt: skip
