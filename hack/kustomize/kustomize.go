// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kustomize builds the kustomizations of config/ for programs and tests of this repository,
// without the program kustomize.
package kustomize

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Build returns the manifests of a folder with a kustomization as one YAML stream. Kinds that
// others need, such as Namespace and CustomResourceDefinition, come first.
func Build(folder string) ([]byte, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("build the kustomization %s: %w", folder, err)
	}
	return resources.AsYaml()
}

// Parse returns the objects of a YAML stream. Empty documents are left out.
func Parse(manifests []byte) ([]*unstructured.Unstructured, error) {
	var list []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(&object.Object); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return nil, fmt.Errorf("document %d: %w", len(list)+1, err)
		case len(object.Object) > 0:
			list = append(list, object)
		}
	}
}
