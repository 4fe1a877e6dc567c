"""Turns messages of MLflow's API into JSON, by MLflow's function and by ours, and compares.

Runs alone inside the container of the server (`python - SEED`). Prints each difference, and at last
how much was compared.
"""

import importlib
import json
import math
import pkgutil
import random
import sys
from collections.abc import Iterator
from typing import Any

import mlflow.protos
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from mlflow.utils.proto_json_utils import message_to_json as theirs
from mlflow_compose.rendering import message_to_json as ours

ask = random.Random(int(sys.argv[1]))

DEEP = 4
"""Levels of messages in messages; some hold their own kind."""

FLOATS = (0.0, -0.0, 1.5, 1e308, 5e-324, math.inf, -math.inf, math.nan, 0.1, 16777217.0)
TEXTS = ("", "a", "ünï \N{SNOWMAN}", "\x00\x1f\u2028", "</script>", '"\\', "seconds", "value")


def descriptors() -> Iterator[Descriptor]:
    """Yield every message of MLflow's API, also those within others."""
    for module in pkgutil.iter_modules(mlflow.protos.__path__, "mlflow.protos."):
        if module.name.endswith("_pb2"):
            found = importlib.import_module(module.name).DESCRIPTOR.message_types_by_name.values()
            for message in found:
                yield from nested(message)


def nested(message: Descriptor) -> Iterator[Descriptor]:
    if not message.GetOptions().map_entry:
        yield message
    for inner in message.nested_types:
        yield from nested(inner)


CHOICES: dict[int, tuple[Any, ...]] = {
    FieldDescriptor.CPPTYPE_STRING: TEXTS,
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
    FieldDescriptor.CPPTYPE_DOUBLE: FLOATS,
    FieldDescriptor.CPPTYPE_FLOAT: FLOATS,
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**64 - 1),
    FieldDescriptor.CPPTYPE_INT32: (0, -1, 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (0, -1, 2**53 + 1, -(2**63), 2**63 - 1),
}


def scalar(field: FieldDescriptor) -> Any:
    """Return some value of a field's type."""
    if field.enum_type is not None:
        return ask.choice(field.enum_type.values).number
    value = ask.choice(CHOICES[field.cpp_type])
    return value.encode() + b"\xff" if field.type == FieldDescriptor.TYPE_BYTES else value


def fill(message: Message, depth: int = 0) -> None:
    """Give some of a message's fields some values."""
    name = message.DESCRIPTOR.full_name
    if name in {"google.protobuf.Timestamp", "google.protobuf.Duration"}:
        message.seconds, message.nanos = ask.choice(((0, 0), (1, 5), (1700000000, 123000000)))
        return
    if name.startswith("google.protobuf."):
        if name == "google.protobuf.Struct":
            message.update({"a": 1.5, "fields": {"b": ["x", None, True]}})
        elif name == "google.protobuf.Value":
            message.string_value = ask.choice(TEXTS)
        elif "value" in message.DESCRIPTOR.fields_by_name and name != "google.protobuf.Any":
            message.value = scalar(message.DESCRIPTOR.fields_by_name["value"])
        return
    for field in message.DESCRIPTOR.fields:
        if ask.random() < 0.3 or (field.message_type is not None and depth >= DEEP):
            continue
        put(message, field, depth)


def put(message: Message, field: FieldDescriptor, depth: int) -> None:
    """Give a field a value, or several."""
    value = getattr(message, field.name)
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
        for _ in range(2):
            key = scalar(key_field)
            if value_field.message_type is not None:
                fill(value[key], depth + 1)
            else:
                value[key] = scalar(value_field)
    elif field.is_repeated:
        for _ in range(ask.randint(0, 3)):
            if entry is not None:
                fill(value.add(), depth + 1)
            else:
                value.append(scalar(field))
    elif entry is not None:
        value.SetInParent()
        fill(value, depth + 1)
    else:
        setattr(message, field.name, scalar(field))


def main() -> None:
    compared = different = 0
    for descriptor in descriptors():
        for number in range(6):
            message = GetMessageClass(descriptor)()
            if number:
                fill(message)
            for options in ({}, {"pretty": False}, {"convert_int64_to_number": False}):
                compared += 1
                one, other = (json.loads(to(message, **options)) for to in (theirs, ours))
                # By repr: as JSON, 1 and 1.0 are one number, and so are 0.0 and -0.0.
                if repr(one) != repr(other):
                    different += 1
                    print(f"{descriptor.full_name} {options}\n  {one!r:.600}\n  {other!r:.600}")
    print(f"{compared} compared, {different} different")


main()
