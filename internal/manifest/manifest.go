// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifest reads Goshawk's objects from YAML and JSON files, and knows in which line of a
// file each field is.
package manifest

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	yamlnode "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Document is one object in a file.
type Document struct {
	// File is the path of the file; "-" is the standard input.
	File string
	// Object is the object; nil if the document cannot be parsed.
	Object *unstructured.Unstructured
	// Err is why the document cannot be parsed. It starts with the line in the file, if that is
	// known.
	Err error

	node *yamlnode.Node
	// before is the number of lines before the document.
	before int
}

// Read returns the objects of the API group goshawk.dev in files and directories, in the order of
// the arguments and sorted by path below each directory. Directories are read with everything below
// them; files without the extension yaml, yml or json, and hidden files and directories, are left
// out there. "-" is the standard input. Objects of other groups are left out.
func Read(paths []string, stdin io.Reader) ([]Document, error) {
	var all []Document
	for _, path := range paths {
		files, err := filesOf(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			data, err := content(file, stdin)
			if err != nil {
				return nil, err
			}
			all = append(all, Parse(file, data)...)
		}
	}
	return all, nil
}

func content(file string, stdin io.Reader) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

func filesOf(path string) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(entry.Name(), ".") && file != path
		switch {
		case err != nil:
			return err
		case entry.IsDir() && hidden:
			return fs.SkipDir
		case entry.IsDir() || hidden || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)):
			return nil
		}
		files = append(files, file)
		return nil
	})
	return files, err
}

// Parse returns the objects of the API group goshawk.dev in the content of a file, and the
// documents that cannot be parsed.
func Parse(file string, data []byte) []Document {
	var all []Document
	before := 0
	for _, text := range split(data) {
		all = append(all, parse(file, text, before)...)
		before += bytes.Count(text, []byte("\n"))
	}
	return all
}

// split returns the documents of a file, each with the line that separates it from the one before.
func split(data []byte) [][]byte {
	var documents [][]byte
	var now []byte
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, []byte("---")) && len(now) > 0 {
			documents, now = append(documents, now), nil
		}
		now = append(now, line...)
	}
	return append(documents, now)
}

func parse(file string, text []byte, before int) []Document {
	document := Document{File: file, before: before}
	var root yamlnode.Node
	if err := yamlnode.Unmarshal(text, &root); err != nil {
		document.Err = shifted(err, before)
		return []Document{document}
	}
	if root.Kind == 0 || len(root.Content) == 0 || root.Content[0].Kind != yamlnode.MappingNode {
		return nil // empty, or only comments
	}
	document.node = root.Content[0]
	encoded, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		document.Err = shifted(err, before)
		return []Document{document}
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(encoded); err != nil {
		if isOurs(valueOf(document.node, "apiVersion")) {
			document.Err = fmt.Errorf("line %d: %w", before+document.node.Line, err)
			return []Document{document}
		}
		return nil // such as a kustomization.yaml without kind
	}
	document.Object = object
	if object.IsList() {
		return items(&document)
	}
	if !isOurs(object.GetAPIVersion()) {
		return nil
	}
	return []Document{document}
}

// items returns the items of a List.
func items(list *Document) []Document {
	nodes := child(list.node, "items")
	objects, _, err := unstructured.NestedSlice(list.Object.Object, "items")
	if err != nil || nodes == nil {
		return nil
	}
	var all []Document
	for i, item := range objects {
		content, ok := item.(map[string]any)
		if !ok || i >= len(nodes.Content) {
			continue
		}
		object := &unstructured.Unstructured{Object: content}
		if isOurs(object.GetAPIVersion()) {
			all = append(all, Document{File: list.File, Object: object, node: nodes.Content[i], before: list.before})
		}
	}
	return all
}

// isOurs reports whether an apiVersion is of the API group goshawk.dev, also if its version is
// missing, which the API server refuses.
func isOurs(apiVersion string) bool {
	group, _, _ := strings.Cut(apiVersion, "/")
	return group == v1alpha1.GroupVersion.Group
}

// shifted returns an error of a parser, which counts lines from the start of the document, with the
// line in the file.
func shifted(err error, before int) error {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: ")
	text = strings.TrimPrefix(strings.ReplaceAll(text, "unmarshal errors:\n  ", ""), "error unmarshaling JSON: ")
	rest, found := strings.CutPrefix(text, "line ")
	digits, message, hasLine := strings.Cut(rest, ":")
	line, wrong := strconv.Atoi(digits)
	if !found || !hasLine || wrong != nil {
		return fmt.Errorf("line %d: %s", before+1, text)
	}
	return fmt.Errorf("line %d:%s", before+line, message)
}

// Line returns the line of a field, such as spec.groups[0].name, or that of the nearest field above
// it that exists.
func (d *Document) Line(path string) int {
	if d.node == nil {
		return d.before + 1
	}
	node, line := d.node, d.node.Line
	for _, step := range steps(path) {
		next, at := descend(node, step)
		if next == nil {
			break
		}
		node, line = next, at
	}
	return d.before + line
}

// Value returns the value of a field as text, or "" if it is no single value.
func (d *Document) Value(path string) string {
	node := d.node
	for _, step := range steps(path) {
		if node == nil {
			return ""
		}
		node, _ = descend(node, step)
	}
	if node == nil || node.Kind != yamlnode.ScalarNode {
		return ""
	}
	return node.Value
}

// Strings calls f for every string in the object, with its path.
func (d *Document) Strings(f func(path, value string, line int)) {
	if d.node != nil {
		d.walk(d.node, "", f)
	}
}

func (d *Document) walk(node *yamlnode.Node, path string, f func(path, value string, line int)) {
	switch node.Kind {
	case yamlnode.ScalarNode:
		f(path, node.Value, d.before+node.Line)
	case yamlnode.SequenceNode:
		for i, item := range node.Content {
			d.walk(item, fmt.Sprintf("%s[%d]", path, i), f)
		}
	case yamlnode.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i].Value
			if path != "" {
				key = path + "." + key
			}
			d.walk(node.Content[i+1], key, f)
		}
	case yamlnode.AliasNode:
		d.walk(node.Alias, path, f)
	default:
	}
}

// steps splits a path into names and indexes.
func steps(path string) []string {
	var out []string
	for path != "" && path != "<nil>" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			inner, rest, _ := strings.Cut(path[1:], "]")
			out, path = append(out, inner), rest
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			out, path = append(out, path[:end]), path[end:]
		}
	}
	return out
}

// descend returns a field or an item of a node and the line where it starts, or nil.
func descend(node *yamlnode.Node, step string) (*yamlnode.Node, int) {
	if node.Kind == yamlnode.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yamlnode.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i+1], node.Content[i].Line
			}
		}
	case yamlnode.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], node.Content[i].Line
		}
	default:
	}
	return nil, 0
}

func child(node *yamlnode.Node, name string) *yamlnode.Node {
	found, _ := descend(node, name)
	return found
}

func valueOf(node *yamlnode.Node, name string) string {
	if found := child(node, name); found != nil {
		return found.Value
	}
	return ""
}
