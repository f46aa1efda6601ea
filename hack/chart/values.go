// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

const start, end = "<!-- start of the values; make generate writes this table -->\n", "<!-- end of the values -->\n"

// readme writes the table of values in README.md.
func (c chart) readme() error {
	text, err := c.read("charts/goshawk/values.yaml")
	if err != nil {
		return err
	}
	table, err := tableOf([]byte(text))
	if err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	path := filepath.Join(c.folder, "README.md")
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(page), start)
	_, after, foundEnd := strings.Cut(rest, end)
	if !found || !foundEnd {
		return fmt.Errorf("%s does not have the lines %q and %q", path, strings.TrimSpace(start), strings.TrimSpace(end))
	}
	return os.WriteFile(path, []byte(before+start+table+end+after), 0o644)
}

// tableOf returns a row for each value that has a comment. A map without a comment of its own has
// rows for its fields.
func tableOf(values []byte) (string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(values, &document); err != nil {
		return "", err
	}
	rows, err := rowsOf(document.Content[0], "")
	if err != nil {
		return "", err
	}
	return "| value | default | meaning |\n|---|---|---|\n" + strings.Join(rows, ""), nil
}

func rowsOf(fields *yaml.Node, prefix string) ([]string, error) {
	var rows []string
	for i := 0; i < len(fields.Content); i += 2 {
		key, value := fields.Content[i], fields.Content[i+1]
		name := prefix + key.Value
		if value.Kind == yaml.MappingNode && value.Style != yaml.FlowStyle && key.HeadComment == "" {
			deeper, err := rowsOf(value, name+".")
			if err != nil {
				return nil, err
			}
			rows = append(rows, deeper...)
			continue
		}
		if key.HeadComment == "" {
			return nil, fmt.Errorf("line %d: %s has no comment", key.Line, name)
		}
		text, err := inline(value)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", key.Line, name, err)
		}
		rows = append(rows, fmt.Sprintf("| `%s` | `%s` | %s |\n", name, text, meaning(key.HeadComment)))
	}
	return rows, nil
}

// meaning returns a comment as one line. A section of values.yaml starts with a comment of its own,
// which a blank line separates from the first value.
func meaning(comment string) string {
	paragraphs := strings.Split(comment, "\n\n")
	var words []string
	for line := range strings.Lines(paragraphs[len(paragraphs)-1]) {
		words = append(words, strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "#"))...)
	}
	return strings.ReplaceAll(strings.Join(words, " "), "|", `\|`)
}

// inline returns a value on one line.
func inline(value *yaml.Node) (string, error) {
	flow := *value
	clearStyle(&flow)
	text, err := yaml.Marshal(&flow)
	return strings.Join(strings.Fields(string(text)), " "), err
}

func clearStyle(value *yaml.Node) {
	value.HeadComment, value.LineComment, value.FootComment = "", "", ""
	if value.Kind != yaml.ScalarNode {
		value.Style = yaml.FlowStyle
	}
	for _, child := range value.Content {
		clearStyle(child)
	}
}
