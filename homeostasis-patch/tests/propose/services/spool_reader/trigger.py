import os
import tempfile

import service

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a")
    with open(path, "wb") as file:
        file.write(b"1")
    os.chmod(path, 0)
    service.collect(folder)
