#!/usr/bin/env python3
"""Reads YAML on stdin and prints its documents as a JSON array, for tests that look into it.

  manifests.py                reads any YAML
  manifests.py --kubernetes   also holds each document against Kubernetes' own schema, which knows every
                              field: a misspelt one is an error, as the cluster would only warn of it
"""

from __future__ import annotations

import json
import sys

import prerequisites

sys.path.insert(0, str(prerequisites.python_packages()))

import fastjsonschema  # noqa: E402 - found only now
import yaml  # noqa: E402


class Schemas:
    """The schemas of one version of Kubernetes, by a document's `apiVersion` and `kind`."""

    def __init__(self):
        content = json.loads(prerequisites.kubernetes_schemas().read_text())
        self.definitions = content["definitions"]
        self.names = {}
        for name, definition in self.definitions.items():
            for kind in definition.get("x-kubernetes-group-version-kind", []):
                version = "/".join(part for part in (kind["group"], kind["version"]) if part)
                self.names[version, kind["kind"]] = name

    def check(self, document: dict) -> None:
        kind = document.get("apiVersion"), document.get("kind")
        if kind not in self.names:
            raise SystemExit(f"manifests: Kubernetes knows no {kind}")
        schema = {"$ref": f"#/definitions/{self.names[kind]}", "definitions": self.definitions}
        try:
            fastjsonschema.compile(schema)(document)
        except fastjsonschema.JsonSchemaValueException as error:
            raise SystemExit(f"manifests: {kind[1]} {document['metadata']['name']}: {error.message}") from error


def main() -> None:
    try:
        documents = [document for document in yaml.safe_load_all(sys.stdin) if document is not None]
    except yaml.YAMLError as error:
        raise SystemExit(f"manifests: {error}") from error
    if "--kubernetes" in sys.argv[1:]:
        schemas = Schemas()
        for document in documents:
            schemas.check(document)
    json.dump(documents, sys.stdout)


if __name__ == "__main__":
    main()
