// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/internal/progress"
)

// Formats of --output.
const (
	Text     = "text"
	JSON     = "json"
	YAML     = "yaml"
	Markdown = "markdown"
)

// format is the value of --output.
type format struct {
	value   string
	allowed []string
}

// addFormat adds --output with these formats to the command; the first one is the default.
func addFormat(c *cobra.Command, allowed ...string) *format {
	f := &format{value: allowed[0], allowed: allowed}
	c.Flags().VarP(f, "output", "o", "format of the output: "+strings.Join(allowed, ", "))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
	return f
}

func (f *format) String() string { return f.value }
func (f *format) Type() string   { return "format" }
func (f *format) Set(value string) error {
	if !slices.Contains(f.allowed, value) {
		return fmt.Errorf("it must be one of %s", strings.Join(f.allowed, ", "))
	}
	f.value = value
	return nil
}

// print prints the value as JSON or YAML, or the text that the function returns, without the
// invisible characters that names and reasons of objects may have.
func (o *Options) print(f *format, value any, text func() string) error {
	switch f.value {
	case JSON:
		encoder := json.NewEncoder(o.Out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(value)
	case YAML:
		data, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		_, err = o.Out.Write(data)
		return err
	default:
		_, err := io.WriteString(o.Out, progress.Visible(text()))
		return err
	}
}
