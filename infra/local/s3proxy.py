"""S3Proxy: the S3 server, keeping objects as files, for signed requests only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.local import jars, tools
from infra.local.files import secret, write_private
from infra.local.part import Command, StackError
from infra.local.ports import LOOPBACK

PROFILE = "s3proxy"
BUCKET = "fieldline"
REGION = "us-east-1"
PROBE_S = 2.0
HAD_ALREADY = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}

SETTINGS = """\
s3proxy.endpoint=http://{host}:{port}
s3proxy.authorization=aws-v4
s3proxy.identity={access}
s3proxy.credential={secret}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={data}
"""

LOGBACK = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{ISO8601} %-5level %logger{20} %msg%n</pattern></encoder>
  </appender>
  <logger name="org.gaul.shaded" level="WARN"/>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"""
"""Its default is DEBUG, which writes every request's headers."""


class S3Proxy:
    """The server. Objects, keys and settings are under `folder`."""

    name = "s3proxy"

    def __init__(self, *, port: int, folder: Path, log_dir: Path) -> None:
        self.port = port
        self._folder = folder
        self._data = folder / "data"
        self._config = folder / "s3proxy.properties"
        self._logback = folder / "logback.xml"
        self._log_dir = log_dir

    def needs(self) -> tuple[str, ...]:
        """Programs it cannot do without."""
        return (tools.JAVA,) if jars.present(PROFILE) else (tools.JAVA, tools.MVN)

    def prepare(self) -> None:
        """Jars, settings (0600, for the keys are in them) and data folder."""
        jars.ensure(PROFILE)
        self._data.mkdir(parents=True, exist_ok=True)
        write_private(self._logback, LOGBACK)
        access, hidden = self._keys()
        write_private(
            self._config,
            SETTINGS.format(
                host=LOOPBACK, port=self.port, access=access, secret=hidden, data=self._data
            ),
        )

    def command(self) -> Command:
        """Java with a heap of at most 256 MB."""
        return Command(
            argv=(
                tools.path(tools.JAVA),
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:+ExitOnOutOfMemoryError",
                f"-Dlogback.configurationFile={self._logback}",
                "-cp",
                jars.classpath(PROFILE),
                "org.gaul.s3proxy.Main",
                "--properties",
                str(self._config),
            ),
            cwd=self._folder,
        )

    def ready(self) -> bool:
        """Whether it answers a signed request with our keys."""
        try:
            return "Buckets" in self._client.list_buckets()  # not in just any server's 200
        except (BotoCoreError, ClientError, OSError):
            return False

    def after_start(self) -> None:
        """The bucket."""
        try:
            self._client.create_bucket(Bucket=BUCKET)
        except ClientError as error:
            if error.response["Error"]["Code"] not in HAD_ALREADY:
                raise StackError(f"S3Proxy did not make the bucket {BUCKET}: {error}.") from error
        except BotoCoreError as error:
            raise StackError(f"S3Proxy did not make the bucket {BUCKET}: {error}.") from error

    def settings(self) -> Mapping[str, str]:
        """S3_ENDPOINT, S3_BUCKET, S3_REGION and the keys; LAKE_CATALOG beside the data."""
        access, hidden = self._keys()
        return {
            "LAKE_CATALOG": f"sqlite:///{self._data.resolve().parent / 'lake-catalog.db'}",
            "S3_ENDPOINT": self._endpoint(),
            "S3_BUCKET": BUCKET,
            "S3_REGION": REGION,
            "S3_ACCESS_KEY": access,
            "S3_SECRET_KEY": hidden,
        }

    def _endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def _keys(self) -> tuple[str, str]:
        return secret(self._folder / "access-key"), secret(self._folder / "secret-key")

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - botocore makes its clients, and their types, at run time
        access, hidden = self._keys()
        return botocore.session.Session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self._endpoint(),
            aws_access_key_id=access,
            aws_secret_access_key=hidden,
            config=Config(
                connect_timeout=PROBE_S,
                read_timeout=PROBE_S,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                proxies={},  # loopback never goes through the machine's proxy
            ),
        )
