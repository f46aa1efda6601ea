// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// release is the version of a released plugin. The linker sets it: -X
// github.com/goshawk-dev/goshawk/internal/cli.release=v1.2.3.
var release string

// version is what `kubectl goshawk version` prints.
type version struct {
	// Version is the version of the plugin.
	Version string `json:"version"`
	// API is the group and version of the kinds that the plugin reads.
	API string `json:"api"`
	// Go is the version of Go that built the plugin.
	Go string `json:"go"`
}

func newVersionCommand(o *Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this plugin",
		Example: `  # The version of the plugin
  kubectl goshawk version

  # The same for a program
  kubectl goshawk version -o json`,
		Args: cobra.NoArgs,
	}
	f := addFormat(c, Text, JSON, YAML)
	c.RunE = func(*cobra.Command, []string) error {
		v := builtVersion()
		return o.print(f, v, func() string { return fmt.Sprintf("kubectl-goshawk %s (%s, %s)\n", v.Version, v.API, v.Go) })
	}
	return c
}

// builtVersion returns the version that the Go compiler recorded in the program.
func builtVersion() version {
	v := version{Version: "(devel)", API: v1alpha1.GroupVersion.String()}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Go = info.GoVersion
		v.Version = cmp.Or(release, info.Main.Version, v.Version)
	}
	return v
}
