import json
import os
import tempfile
import unittest

from service import DEFAULTS, merge, settings


class Settings(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "local.json")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, text):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    def test_an_overlay_is_laid_over(self):
        self.write(json.dumps({"log": {"level": "debug"}}))
        self.assertEqual(settings(self.path)["log"], {"level": "debug", "file": None})

    def test_without_an_overlay_the_defaults_hold(self):
        self.assertEqual(settings(self.path), DEFAULTS)

    def test_an_empty_overlay_changes_nothing(self):
        self.write("\n")
        self.assertEqual(settings(self.path), DEFAULTS)

    def test_an_overlay_that_is_broken_is_still_an_error(self):
        self.write("{port: 1}")
        with self.assertRaises(ValueError):
            settings(self.path)
        self.write("[]")
        with self.assertRaises(ValueError):
            settings(self.path)

    def test_an_overlay_that_is_a_folder_is_still_an_error(self):
        with self.assertRaises(OSError):
            settings(self.folder.name)

    def test_merging_leaves_the_base_alone(self):
        merge(DEFAULTS, {"log": {"level": "debug"}})
        self.assertEqual(DEFAULTS["log"]["level"], "info")


if __name__ == "__main__":
    unittest.main()
