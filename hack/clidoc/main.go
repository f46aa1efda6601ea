// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command clidoc generates the reference of docs/cli.md from the commands of the kubectl plugin. It
// replaces the text between two markers; the other text of the page is not changed:
//
//	<!-- clidoc --> ... <!-- end -->
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/goshawk-dev/goshawk/internal/cli"
)

//go:generate go run . ../../docs/cli.md

const (
	start = "<!-- clidoc -->\n"
	end   = "<!-- end -->"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: clidoc PAGE")
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal("clidoc: ", err)
	}
}

func run(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, hasStart := strings.Cut(string(text), start)
	_, after, hasEnd := strings.Cut(rest, end)
	if !hasStart || !hasEnd {
		return fmt.Errorf("%s has no %q followed by %q", page, strings.TrimSpace(start), end)
	}
	root := cli.NewCommand(genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard})
	return os.WriteFile(page, []byte(before+start+reference(root)+end+after), 0o644)
}

// reference returns a section for each command, group by group.
func reference(root *cobra.Command) string {
	var out strings.Builder
	for _, group := range root.Groups() {
		fmt.Fprintf(&out, "\n## %s\n", strings.TrimSuffix(group.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && c.IsAvailableCommand() {
				fmt.Fprintf(&out, "\n### %s\n\n%s.\n\n```text\n%s```\n", c.Name(), c.Short, help(c))
			}
		}
	}
	return out.String() + "\n"
}

// help returns what --help prints, without its last line, which is the same for all commands.
func help(c *cobra.Command) string {
	c.InitDefaultHelpFlag()
	text := c.UsageString()
	if c.Long != "" {
		text = c.Long + "\n\n" + text
	}
	text, _, _ = strings.Cut(text, "\n`kubectl goshawk options`")
	return strings.TrimRight(text, "\n") + "\n"
}
