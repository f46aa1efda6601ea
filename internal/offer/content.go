// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// ContentHash returns the SHA-256 by which installed sets are compared. It covers the modules of a
// set, their artifacts without URLs, and the metadata that devices see; names of objects and the
// order of lists are not part of it. Two sets with the same hash are the same to a device.
func ContentHash(set *v1alpha1.DistributionSet, modules []*v1alpha1.SoftwareModule) string {
	content := struct {
		Metadata []v1alpha1.MetadataEntry
		Modules  []moduleContent
	}{Metadata: Visible(set.Spec.Metadata)}
	for _, m := range modules {
		content.Modules = append(content.Modules, contentOf(m))
	}
	slices.SortFunc(content.Modules, func(a, b moduleContent) int {
		return strings.Compare(a.Type+"\x00"+a.Name+"\x00"+a.Version, b.Type+"\x00"+b.Name+"\x00"+b.Version)
	})
	encoded, err := json.Marshal(content)
	if err != nil {
		panic(err) // plain strings and numbers always encode
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

type moduleContent struct {
	Type, Name, Version string
	Artifacts           []artifactContent
	Metadata            []v1alpha1.MetadataEntry
}

type artifactContent struct {
	FileName string
	Size     int64
	SHA256   string
}

func contentOf(m *v1alpha1.SoftwareModule) moduleContent {
	c := moduleContent{Type: m.Spec.Type, Name: m.Spec.Name, Version: m.Spec.Version, Metadata: Visible(m.Spec.Metadata)}
	for _, a := range m.Spec.Artifacts {
		c.Artifacts = append(c.Artifacts, artifactContent{FileName: a.FileName, Size: a.Size, SHA256: a.Checksums.SHA256})
	}
	slices.SortFunc(c.Artifacts, func(a, b artifactContent) int { return strings.Compare(a.FileName, b.FileName) })
	return c
}

// Visible returns the entries that a device sees, sorted by key.
func Visible(entries []v1alpha1.MetadataEntry) []v1alpha1.MetadataEntry {
	var visible []v1alpha1.MetadataEntry
	for _, e := range entries {
		if e.VisibleToDevice {
			visible = append(visible, e)
		}
	}
	slices.SortFunc(visible, func(a, b v1alpha1.MetadataEntry) int { return strings.Compare(a.Key, b.Key) })
	return visible
}
