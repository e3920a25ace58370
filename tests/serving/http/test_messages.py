"""Messages of protobuf as JSON."""

from protos import open_inference_pb2 as pb
from serving.http.messages import to_json


def test_numbers_are_numbers_and_enums_names() -> None:
    stats = pb.InferStatistics(success=pb.StatisticDuration(count=2, ns=2**53))
    assert to_json(stats) == {"success": {"count": 2, "ns": 2**53}}
    pixels = pb.ModelInput(name="image", data_type=pb.TYPE_UINT8, dims=[28, 28, 3])
    pixels.format = pb.ModelInput.FORMAT_NHWC
    told = to_json(pixels)
    assert (told["data_type"], told["format"]) == ("TYPE_UINT8", "FORMAT_NHWC")
    assert told["dims"] == [28, 28, 3]


def test_values_that_are_not_set_are_there_and_messages_are_not() -> None:
    told = to_json(pb.ModelConfig(name="tiny"))
    assert (told["max_batch_size"], told["input"], told["platform"]) == (0, [], "")
    assert "dynamic_batching" not in told


def test_a_map_is_an_object() -> None:
    config = pb.ModelConfig(parameters={"digest": pb.ModelParameter(string_value="x")})
    assert to_json(config)["parameters"] == {"digest": {"string_value": "x"}}
