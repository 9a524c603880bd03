"""A thin typed layer over Docker, podman and Apptainer; the only package that imports the Docker SDK. Internal."""

from aira_bench.docker_engine.attachment import Attachment
from aira_bench.docker_engine.choice import CONTAINERS, Containers, chosen, connect_engine
from aira_bench.docker_engine.engine import ContainerInfo, DockerEngine, EngineInfo
from aira_bench.docker_engine.failures import Conflict, EngineWords, NotThere
from aira_bench.docker_engine.images import ImageDetails, ImageInfo

__all__ = [
    "CONTAINERS", "Attachment", "Conflict", "ContainerInfo", "Containers", "DockerEngine", "EngineInfo", "EngineWords",
    "ImageDetails", "ImageInfo", "NotThere", "chosen", "connect_engine",
]  # fmt: skip
