"""webdavclient3 at work; JSON in, JSON out."""

import io
import json
import sys

from webdav3.client import Client
from webdav3.exceptions import RemoteResourceNotFound, WebDavException

given = json.loads(sys.stdin.read())
out, sys.stdout = sys.stdout, sys.stderr  # the client talks about itself
client = Client(
    {
        "webdav_hostname": given["host"],
        "webdav_root": given["root"],
        "webdav_login": given["username"],
        "webdav_password": given["password"],
    }
)
said: dict[str, object] = {"before": client.list()}
client.mkdir("reports")
client.mkdir("reports/acme")
said["there"] = client.check("reports/acme")
client.upload_to(io.BytesIO("Grüße".encode()), "reports/acme/a b.txt")
read = io.BytesIO()
client.download_from(read, "reports/acme/a b.txt")
said["read"] = read.getvalue().decode()
said["list"] = client.list("reports/acme")
said["info"] = client.info("reports/acme/a b.txt")
said["is_dir"] = [client.is_dir("reports/acme"), client.is_dir("reports/acme/a b.txt")]
option = {"namespace": "urn:fieldline:dms", "name": "fieldline-key"}
client.set_property("reports/acme/a b.txt", option | {"value": "k1"})
said["property"] = client.get_property("reports/acme/a b.txt", option)
client.copy("reports/acme/a b.txt", "reports/copy.txt")
client.move("reports/copy.txt", "reports/moved.txt")
said["after"] = client.list("reports")
try:
    with client.lock("reports/moved.txt") as holder:
        holder.upload_to(io.BytesIO(b"by the holder"), "reports/moved.txt")
        client.upload_to(io.BytesIO(b"by another"), "reports/moved.txt")
except WebDavException as error:
    said["locked"] = str(error)
read = io.BytesIO()
client.download_from(read, "reports/moved.txt")
said["kept"] = read.getvalue().decode()
client.clean("reports/moved.txt")
try:
    client.info("reports/moved.txt")
except RemoteResourceNotFound:
    said["gone"] = True
for path in given["ours"]:
    said[path] = client.get_property(path, option)
out.write(json.dumps(said))
