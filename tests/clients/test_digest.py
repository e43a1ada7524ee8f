import hashlib

import numpy as np
import pytest

from clients.exact import digest


def test_json_by_hand() -> None:
    expected = hashlib.sha256('{"a":[1,2.5,null],"ü":"ö"}'.encode()).hexdigest()
    assert digest.of_json({"ü": "ö", "a": (1, 2.5, None)}) == expected
    with pytest.raises(ValueError, match="JSON"):
        digest.of_json([float("nan")])


def test_arrays_by_hand() -> None:
    raw = b"<i8(2,)" + (1).to_bytes(8, "little") + (-2).to_bytes(8, "little", signed=True)
    expected = hashlib.sha256(raw).hexdigest()
    array = np.array([1, -2])
    assert digest.of_array(array) == expected
    assert digest.of_array(array.astype(">i8")) == expected  # big-endian memory, the same values
    assert digest.of_array(np.array([1, 0, -2, 0])[::2]) == expected
    assert digest.of_array(np.array([], dtype=np.float32)) == hashlib.sha256(b"<f4(0,)").hexdigest()
    assert digest.of_array(np.array([True])) == hashlib.sha256(b"|b1(1,)\x01").hexdigest()


def test_dtype_and_shape_count() -> None:
    arrays = [np.zeros(4, dtype=np.float32), np.zeros(2, dtype=np.int64), np.zeros((2, 2), dtype=np.float32)]
    assert len({digest.of_array(array) for array in arrays}) == 3
