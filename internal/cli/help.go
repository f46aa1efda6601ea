// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageTemplate is cobra's, without the flags that all commands share: `kubectl goshawk options`
// prints them, as `kubectl options` does.
const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$commands := .Commands}}{{range $group := .Groups}}

{{.Title}}{{range $commands}}{{if and (eq .GroupID $group.ID) .IsAvailableCommand}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{if .HasParent}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{end}}

{{if .HasAvailableSubCommands}}` + "`{{.CommandPath}} COMMAND --help` prints the help of a command, with examples." + `
{{end}}` + "`kubectl goshawk options` prints the flags of all commands, such as -n and --context." + `
`

// describeFlags are what --help says of the flags of the kubeconfig.
var describeFlags = map[string]string{
	"as":              "user to impersonate",
	"context":         "context of the kubeconfig (default: the current one)",
	"kubeconfig":      "file of the kubeconfig (default: the files of KUBECONFIG, else ~/.kube/config)",
	"namespace":       "namespace (default: that of the context)",
	"proxy-url":       "URL of a proxy to the API server",
	"request-timeout": "maximum time of one request, such as 30s (default: none)",
}

// rareFlags work as in kubectl, and --help leaves them out.
var rareFlags = []string{
	"as-group", "as-uid", "as-user-extra", "cache-dir", "certificate-authority", "client-certificate", "client-key", "cluster",
	"disable-compression", "insecure-skip-tls-verify", "server", "tls-server-name", "token", "user",
}

func describe(flags *pflag.FlagSet) {
	for name, usage := range describeFlags {
		if flag := flags.Lookup(name); flag != nil {
			flag.Usage, flag.DefValue = usage, ""
		}
	}
	for _, name := range rareFlags {
		if flag := flags.Lookup(name); flag != nil {
			flag.Hidden = true
		}
	}
}

// newOptionsCommand returns the command that prints the flags of all commands.
func newOptionsCommand(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "Print the flags that all commands have",
		Long: "Prints the flags that all commands have. The other flags of kubectl that choose a cluster and\n" +
			"a user, such as --server and --token, work too.",
		Example: `  kubectl goshawk options`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := o.Out.Write([]byte(strings.TrimRight(c.InheritedFlags().FlagUsages(), "\n") + "\n"))
			return err
		},
	}
}
