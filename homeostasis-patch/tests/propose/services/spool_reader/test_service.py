import os
import tempfile
import unittest

from service import collect, sizes


class Spool(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, data, mode=0o644):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)

    def test_finished_files_are_read(self):
        self.write("a", b"1")
        self.write("b.part", b"2")
        self.assertEqual(collect(self.folder.name), {"a": b"1"})

    def test_a_file_that_may_not_be_read_does_not_hide_the_others(self):
        self.write("a", b"1", mode=0)
        self.write("b", b"22")
        self.assertEqual(sizes(self.folder.name), {"b": 2})


if __name__ == "__main__":
    unittest.main()
