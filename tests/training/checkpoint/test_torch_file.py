"""Files of PyTorch: what it wrote is read to the bit, and no code in one is run."""

import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.torch import (
    MAGIC,
    PROTOCOL,
    by_name,
    tensor,
    torch_python,
    write_state_dict,
    write_zip,
)
from training.checkpoint.torch_file import read
from training.errors import CheckpointError

PROGRAM = """
import sys
import numpy, torch

torch.manual_seed(1)
whole = torch.randn(4, 3, 2, 2)
module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
state = module.state_dict()
state |= {
    "whole": whole,
    "a part of it": whole[1:3, 1],
    "turned": whole.permute(3, 1, 0, 2),
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "half": torch.randn(5).half(),
    "double": torch.randn(5).double(),
    "one": torch.tensor(3.5),
    "none": torch.zeros(0, 4),
}
folder = sys.argv[1]
torch.save(state, f"{folder}/zip.pth")
torch.save(state, f"{folder}/legacy.pth", _use_new_zipfile_serialization=False)
numpy.savez(f"{folder}/expected.npz", **{name: value.numpy() for name, value in state.items()})
torch.save(module, f"{folder}/module.pt")
torch.save({"state_dict": state, "epoch": 3}, f"{folder}/wrapped.pth")
torch.save({"half": torch.randn(5).bfloat16()}, f"{folder}/bfloat16.pth")
torch.jit.script(module).save(f"{folder}/script.pt")
"""
VALUES = np.arange(24, dtype="<f4")


@pytest.fixture(scope="module")
def torch_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    subprocess.run([torch_python(), "-W", "ignore", "-c", PROGRAM, str(folder)], check=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_both_forms_are_read_to_the_bit(form: str, torch_files: Path) -> None:
    found = read(torch_files / f"{form}.pth")
    with np.load(torch_files / "expected.npz") as expected:
        assert found.keys() == set(expected)
        assert len(found) == 15
        for name, value in expected.items():
            assert found[name].dtype == value.dtype, name
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("module.pt", r"torch.nn.modules.container.Sequential is none of what weights are made of"),
        ("wrapped.pth", "it has state_dict, epoch, which are no tensors"),
        ("bfloat16.pth", r"torch.BFloat16Storage is none of what weights are made of"),
        ("script.pt", "__torch__.* is none of what weights are made of"),
    ],
)
def test_what_is_no_state_dict_is_named_with_the_remedy(
    file: str, why: str, torch_files: Path
) -> None:
    with pytest.raises(CheckpointError, match=rf"{why}; .*torch.save\(model.state_dict\(\)"):
        read(torch_files / file)


def test_a_tensor_may_be_a_part_of_its_storage(tmp_path: Path) -> None:
    turned = tensor("0", 24, 2, (3, 2), (1, 10))
    path = write_zip(tmp_path / "w.pth", by_name(turned=turned), {"0": VALUES.tobytes()})
    np.testing.assert_array_equal(read(path)["turned"], [[2, 12], [3, 13], [4, 14]])


CALLS = [
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("subprocess", "Popen"),
    ("torch", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("numpy", "load"),
    ("collections", "OrderedDict.fromkeys"),
]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("module", "name"), CALLS)
def test_no_code_is_run(module: str, name: str, legacy: bool, tmp_path: Path) -> None:
    """The usual attack: a pickle that calls something as it is read."""
    mark = tmp_path / "it ran"
    attack = f"c{module}\n{name}\n(Vtouch '{mark}'\ntR.".encode()
    path = tmp_path / "evil.pth"
    if legacy:
        path.write_bytes(attack)
    else:
        write_zip(path, attack, {})
    with pytest.raises(CheckpointError, match=f"{module}.{name} is none of what weights are made"):
        read(path)
    assert not mark.exists()


def test_the_attack_would_have_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    pickle.loads(f"cos\nsystem\n(Vtouch '{mark}'\ntR.".encode())
    assert mark.exists()


@pytest.mark.parametrize("target", ["torch._utils\n_rebuild_tensor_v2", "collections\nOrderedDict"])
def test_what_stands_for_globals_cannot_be_changed(target: str, tmp_path: Path) -> None:
    """BUILD with a pair sets attributes of whatever is on the stack."""
    change = f"c{target}\n(N}}V__call__\nI1\nstb.".encode()
    with pytest.raises(CheckpointError, match="attribute"):
        read(write_zip(tmp_path / "evil.pth", change, {}))


@pytest.mark.parametrize(
    ("opcodes", "why"),
    [
        (tensor("0", 24, 0, (25,), (1,)), r"size \(25,\) reaches beyond its storage"),
        (tensor("0", 24, 1, (24,), (1,)), "beyond its storage"),
        (tensor("0", 24, 0, (3, 3), (11, 1)), "beyond its storage"),
        (tensor("0", 24, 0, (10**9, 24), (0, 1)), "beyond its storage"),
        (tensor("0", 24, -1, (2,), (1,)), r"no tensor has size \(2,\) and stride \(1,\)"),
        (tensor("0", 24, 3, (2,), (-1,)), "no tensor has"),
        (tensor("0", 24, 0, (2,), ()), "no tensor has"),
        (tensor("0", 25, 0, (2,), (1,)), "storage 0 has 24 values, its tensors say 25"),
        (tensor("0", 10**12, 0, (2,), (1,)), "has 24 values, its tensors say 1000000000000"),
        (tensor("1", 24, 0, (2,), (1,)), "no item named 'weights/data/1'"),
        ("I1\n", "it has w, which are no tensors"),
        ("(Vmodule\nI1\nI1\nI1\nI1\ntQ", "module stands where a whole storage belongs"),
    ],
)
def test_tensors_stay_within_what_there_is(opcodes: str, why: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "w.pth", by_name(w=opcodes), {"0": VALUES.tobytes()})
    with pytest.raises(CheckpointError, match=why):
        read(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Ran out of input"),
        (b"no pickle at all", "holds no state dict of PyTorch"),
        (b"PK\x03\x04 and no archive", "not a zip file"),
        (pickle.dumps(1) + pickle.dumps(1001), "it does not begin as a file of PyTorch"),
        (
            pickle.dumps(MAGIC) + pickle.dumps(PROTOCOL) + pickle.dumps({"little_endian": False}),
            "its numbers are big-endian",
        ),
        (pickle.dumps([1]), "holds no state dict of PyTorch"),
    ],
)
def test_other_files_are_refused(content: bytes, why: str, tmp_path: Path) -> None:
    (path := tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=why):
        read(path)


def test_other_archives_are_refused(tmp_path: Path) -> None:
    pickled = by_name(w=tensor("0", 24, 0, (24,), (1,)))
    compressed = write_zip(tmp_path / "w.pth", pickled, {"0": bytes(96)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed"):
        read(compressed)
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as archive:
        archive.writestr("word/document.xml", "")
    with pytest.raises(CheckpointError, match=r"an archive without data\.pkl"):
        read(tmp_path / "other.pth")


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    path = write_state_dict(tmp_path / "w.pth", {"w": VALUES})
    np.testing.assert_array_equal(read(path)["w"], VALUES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match="not a zip file"):
        read(path)
