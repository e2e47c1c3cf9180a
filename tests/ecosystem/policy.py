#!/usr/bin/env python3
"""What an admission policy does with a pod: evaluates its CEL expressions with Google's own implementation.

usage: policy.py POLICY.yaml OBJECT.yaml NAMESPACE.yaml [OPERATION [RESOURCE [OLD.yaml]]]     (CREATE pods)

Prints one JSON object: {"matches": ..., "why": ...} and, where the policy matches, "allowed" and "message" of a
validating policy, "object" of a mutating one. Ends with 1 where an expression does not compile, has the wrong type or
fails: a cluster would refuse the policy or fall back to its failurePolicy.

Expressions of mutations may make values of the types Object.* and JSONPatch. Those are generated here from the schema
of a Pod, so that a field that does not exist, or is of another type, is an error; variables do not know them, as in a
cluster.
"""

import functools
import json
import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml
from cel_expr_python import cel
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, empty_pb2, json_format
from google.protobuf import message_factory, struct_pb2, timestamp_pb2, wrappers_pb2

FIELD = descriptor_pb2.FieldDescriptorProto
PACKAGE = "kubernetes"
SCALARS = {"string": FIELD.TYPE_STRING, "boolean": FIELD.TYPE_BOOL, "integer": FIELD.TYPE_INT64}
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / "v1.37.0-local-strict"


def fail(*words):
    print("policy.py:", *words, file=sys.stderr)
    sys.exit(1)


# --- the types of a Pod, as messages ---------------------------------------------------------------


@functools.cache
def schemas(file):
    return json.loads((SCHEMAS / file).read_text())


def resolve(schema):
    """A schema with its reference followed."""
    while "$ref" in schema:
        file, _, pointer = schema["$ref"].partition("#")
        found = schemas(Path(file).name or "_definitions.json")
        schema = functools.reduce(lambda found, word: found[word], pointer.strip("/").split("/"), found)
    return schema


def kind_of(schema):
    """The type that a schema names, leaving `null` out."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    kinds = [kind for kind in kinds if kind != "null"]
    return kinds[0] if len(kinds) == 1 else None


def mangle(path):
    """`Object.spec.volumes`, which is a type and a package of types at once, as the name of one message."""
    return path.replace(".", "_")


def messages(expression):
    """The message types that the expression makes, with the fields that the Pod's schema gives them."""
    paths = set(re.findall(r"\b(Object(?:\.\w+)*)\s*\{", expression))
    file = descriptor_pb2.FileDescriptorProto(name="pod.proto", package=PACKAGE, syntax="proto2")
    file.dependency.extend(["google/protobuf/any.proto", "google/protobuf/struct.proto"])
    pod = schemas("pod-v1.json")
    for path in sorted(paths):
        schema = pod
        for word in path.split(".")[1:]:
            if word not in schema.get("properties", {}):
                fail(f"no such field in a Pod: {path}")
            schema = resolve(schema["properties"][word])
            schema = resolve(schema["items"]) if kind_of(schema) == "array" else schema
        add_message(file, path, schema, paths)
    patch = file.message_type.add(name="JSONPatch")
    for number, name in enumerate(["op", "path", "from"], 1):
        patch.field.add(name=name, number=number, label=FIELD.LABEL_OPTIONAL, type=FIELD.TYPE_STRING)
    add_field(patch, "value", {}, "", ())
    return file


def add_message(file, path, schema, paths):
    message = file.message_type.add(name=mangle(path))
    for name, field in schema.get("properties", {}).items():
        add_field(message, name, resolve(field), path, paths)


def add_field(message, name, schema, path, paths):
    field = message.field.add(name=name, number=len(message.field) + 1, json_name=name)
    field.label = FIELD.LABEL_OPTIONAL
    if kind_of(schema) == "array":
        field.label = FIELD.LABEL_REPEATED
        schema = resolve(schema["items"])
    if f"{path}.{name}" in paths:
        field.type, field.type_name = FIELD.TYPE_MESSAGE, f".{PACKAGE}.{mangle(f'{path}.{name}')}"
    elif kind_of(schema) in SCALARS:
        field.type = SCALARS[kind_of(schema)]
    elif kind_of(schema) == "object" and "additionalProperties" in schema:
        entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        for number, key in enumerate(["key", "value"], 1):
            entry.field.add(name=key, number=number, label=FIELD.LABEL_OPTIONAL, type=FIELD.TYPE_STRING)
        field.label, field.type = FIELD.LABEL_REPEATED, FIELD.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
    else:
        field.type, field.type_name = FIELD.TYPE_MESSAGE, ".google.protobuf.Any"


# --- evaluation ------------------------------------------------------------------------------------

VARIABLES = {name: cel.Type.DYN for name in ("object", "oldObject", "request", "namespaceObject", "variables")}


class Evaluator:
    """The expressions of one policy over one request."""

    def __init__(self, policy, request):
        self.spec = policy["spec"]
        self.data = dict(request, variables={})
        self.plain = cel.NewEnv(variables=VARIABLES)

    def value(self, expression, where, env=None):
        try:
            result = (env or self.plain).compile(expression).eval(data=self.data)
        except RuntimeError as error:
            fail(f"{where}: {error}")
        if "ERROR" in str(result.type()):
            fail(f"{where}: {result.value()}")
        return plain(result)

    def truth(self, expression, where):
        result = self.value(expression, where)
        if not isinstance(result, bool):
            fail(f"{where}: not a boolean: {result}")
        return result

    def conditions(self):
        for condition in self.spec.get("matchConditions", []):
            if not self.truth(condition["expression"], condition["name"]):
                return condition["name"]
        return None

    def variables(self):
        for variable in self.spec.get("variables", []):
            value = self.value(variable["expression"], variable["name"])
            self.data["variables"] = {**self.data["variables"], variable["name"]: value}

    def validate(self):
        for validation in self.spec["validations"]:
            if not self.truth(validation["expression"], "validation"):
                message = self.value(validation["messageExpression"], "messageExpression")
                return {"allowed": False, "message": message, "reason": validation["reason"]}
        return {"allowed": True}

    def mutate(self):
        changed = json.loads(json.dumps(self.data["object"]))
        for mutation in self.spec["mutations"]:
            expression = mutation["jsonPatch"]["expression"]
            pool = descriptor_pool.DescriptorPool()
            for known in (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2):
                pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
            pool.AddSerializedFile(messages(expression).SerializeToString())
            env = cel.NewEnv(pool, variables=VARIABLES, container=PACKAGE)
            mangled = re.sub(r"\bObject(?:\.\w+)*(?=\s*\{)", lambda found: mangle(found.group()), expression)
            try:
                result = env.compile(mangled).eval(data=self.data)
            except RuntimeError as error:
                fail(f"mutation: {error}")
            for item in listed(result):
                apply(changed, patch_of(item, pool))
        return {"object": changed}


def listed(result):
    if "ERROR" in str(result.type()) or not isinstance(result.value(), list):
        fail(f"mutation: not a list of patches: {result.value()}")
    return [getattr(item, "value", lambda item=item: item)() for item in result.value()]


def patch_of(message, pool):
    """A JSONPatch message as the JSON that it stands for."""
    known = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.JSONPatch"))
    copy = known.FromString(message.SerializeToString())
    patch = {"op": copy.op, "path": copy.path}
    packed = copy.value
    name = packed.type_url.rpartition("/")[2]
    inner = message_factory.GetMessageClass(pool.FindMessageTypeByName(name)).FromString(packed.value)
    patch["value"] = as_json(inner)
    return patch


def as_json(message):
    """A message as the JSON of an API server. protobuf's own would write 64-bit integers as strings."""
    if not hasattr(message, "ListFields"):
        return message
    if message.DESCRIPTOR.full_name.startswith("google.protobuf."):
        return json_format.MessageToDict(message)
    found = {}
    for field, value in message.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            value = dict(value)
        elif isinstance(value, (str, int)) or hasattr(value, "ListFields"):
            value = as_json(value)
        else:
            value = [as_json(item) for item in value]
        found[field.name] = value
    return found


def plain(value):
    """A CEL value as Python's."""
    value = value.value() if hasattr(value, "value") and hasattr(value, "type") else value
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def apply(target, patch):
    """RFC 6902, the operations that the policy uses."""
    if patch["op"] != "add":
        fail(f"an operation that this script does not know: {patch['op']}")
    *parents, last = (word.replace("~1", "/").replace("~0", "~") for word in patch["path"].split("/")[1:])
    for word in parents:
        target = target[int(word)] if isinstance(target, list) else target[word]
    if isinstance(target, list):
        target.insert(len(target) if last == "-" else int(last), patch["value"])
    else:
        target[last] = patch["value"]


# --- what a policy is asked about ------------------------------------------------------------------


def selected(selector, labels):
    """Whether a label selector takes an object with these labels."""
    for key, value in (selector or {}).get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in (selector or {}).get("matchExpressions", []):
        if rule["operator"] != "In":
            fail(f"an operator that this script does not know: {rule['operator']}")
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def asked(spec, request, operation, resource):
    """Why the policy is not asked about the request; None where it is."""
    constraints = spec["matchConstraints"]
    rules = constraints["resourceRules"]
    if not any(operation in rule["operations"] and resource in rule["resources"] for rule in rules):
        return f"{operation} {resource}"
    for name, thing in (("namespaceSelector", "namespaceObject"), ("objectSelector", "object")):
        if not selected(constraints.get(name), request[thing]["metadata"].get("labels", {})):
            return name
    return None


def main():
    if len(sys.argv) not in (4, 5, 6, 7):
        print(__doc__, file=sys.stderr)
        sys.exit(64)
    policies, thing, namespace = sys.argv[1:4]
    operation, resource = (sys.argv[4:] + ["CREATE", "pods"][len(sys.argv) - 4 :])[:2]
    old = yaml.safe_load(Path(sys.argv[6]).read_text()) if len(sys.argv) == 7 else None
    # As an API server: there is an old object in an update, and only there.
    if (operation == "UPDATE") != (old is not None):
        fail(f"{operation} with the old object {old}")
    documents = list(yaml.safe_load_all(Path(policies).read_text()))
    policy = next(one for one in documents if one["kind"].endswith("AdmissionPolicy"))
    if not any(one["kind"] == policy["kind"] + "Binding" and one["spec"]["policyName"] == policy["metadata"]["name"]
               for one in documents):
        fail("no binding names the policy")
    request = {
        "object": yaml.safe_load(Path(thing).read_text()),
        "namespaceObject": yaml.safe_load(Path(namespace).read_text()),
        "request": {"operation": operation},
        "oldObject": old,
    }
    evaluator = Evaluator(policy, request)
    why = asked(policy["spec"], request, operation, resource) or evaluator.conditions()
    answer = {"matches": why is None, "why": why}
    if why is None:
        evaluator.variables()
        mutating = policy["kind"].startswith("Mutating")
        answer.update(evaluator.mutate() if mutating else evaluator.validate())
    print(json.dumps(answer))


main()
