// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/goshawk-dev/goshawk/internal/agent"
	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// version is that of the release. The linker sets it.
var version = "unreleased"

// program has what all commands share.
type program struct {
	out, log io.Writer
	config   string
}

func newCommand(out, log io.Writer) *cobra.Command {
	p := &program{out: out, log: log}
	c := &cobra.Command{
		Use:           "goshawk-agent",
		Version:       version,
		Short:         "Update the software of this device",
		Long:          "goshawk-agent gets updates from hawkBit, Goshawk or another server of the Direct Device Integration API,\ninstalls them with handlers, rolls back what fails, and says whether the device is consistent.",
		SilenceErrors: true, SilenceUsage: true,
	}
	c.SetOut(out)
	c.PersistentFlags().StringVar(&p.config, "config", agent.DefaultConfig, "configuration file")
	c.AddCommand(p.run(), p.status(), p.history(), p.install(), p.remove(), p.confirm(), p.deny(), p.rollback(), p.poll())
	return c
}

func (p *program) run() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run the agent until it gets SIGTERM", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config, a, unlock, err := p.open()
			if err != nil {
				return err
			}
			defer unlock()
			listener, err := agent.Listen(config.Folder)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancelCause(c.Context())
			defer cancel(nil)
			go func() { cancel(a.Serve(ctx, listener)) }()
			if err := a.Run(ctx); err != nil {
				return err
			}
			if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		},
	}
}

// open reads the configuration, locks the folder and opens the journal.
func (p *program) open() (agent.Config, *agent.Agent, func(), error) {
	config, err := agent.ReadConfig(p.config)
	if err != nil {
		return config, nil, nil, err
	}
	unlock, err := agent.Lock(config.Folder)
	if err != nil {
		return config, nil, nil, err
	}
	a, err := agent.New(config, slog.New(slog.NewTextHandler(p.log, nil)))
	if err != nil {
		unlock()
		return config, nil, nil, err
	}
	return config, a, unlock, nil
}

func (p *program) status() *cobra.Command {
	asJSON, output := false, output("text")
	c := &cobra.Command{
		Use: "status", Short: "Show the installed software, the update in progress, and whether the device is consistent", Args: cobra.NoArgs,
		Long: "The exit code is 0 for a consistent device and 3 for an inconsistent one. The command reads state.json in the folder of\nthe agent, which everybody may read; the agent does not need to run. With the right to use the socket of the running agent,\nit also shows the last contact to the server.",
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := agent.ReadConfig(p.config)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(filepath.Join(config.Folder, journal.StateFile))
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s has no %s: the agent has not run on this device", config.Folder, journal.StateFile)
			}
			if err != nil {
				return err
			}
			var state journal.State
			if err := json.Unmarshal(data, &state); err != nil {
				return err
			}
			if asJSON || output == "json" {
				fmt.Fprintf(p.out, "%s", data)
			} else {
				printState(p.out, state, connectionOf(c.Context(), config, state.Server))
			}
			if !state.Consistent {
				return exit{exitInconsistent, nil}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print state.json, as -o json does")
	output.addTo(c)
	return c
}

// output is the format that a command prints.
type output string

func (o *output) addTo(c *cobra.Command) {
	c.Flags().VarP(o, "output", "o", "format of the output: text, json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func (o *output) String() string { return string(*o) }
func (o *output) Type() string   { return "format" }

// Set sets the format.
func (o *output) Set(format string) error {
	if format != "text" && format != "json" {
		return errors.New("it must be one of text, json")
	}
	*o = output(format)
	return nil
}

// connectionOf returns lines about the connection to the server, or none without a server. stored
// is that of the state file, which is not written at each visit to the server.
func connectionOf(ctx context.Context, config agent.Config, stored *journal.Connection) []string {
	if config.Server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var present *journal.Connection
	err := agent.Ask(ctx, config.Folder, "/connection", agent.Request{}, &present)
	if err != nil {
		present = stored // another user, or an agent of another version
	}
	lines := []string{config.Server.URL}
	if present != nil {
		lines[0] = present.Address
	}
	switch c := present; {
	case errors.Is(err, agent.ErrNotRunning):
		lines = append(lines, "the agent does not run")
	case c == nil:
		lines = append(lines, "no contact yet")
	case c.Connected:
		lines = append(lines, "connected since "+c.Since.Format(time.RFC3339))
	default:
		lines = append(lines, fmt.Sprintf("not connected since %s: %s", c.Since.Format(time.RFC3339), c.Error))
	}
	if c := present; c != nil && c.LastContact != nil && (err == nil || !c.Connected) {
		lines = append(lines, "last contact "+c.LastContact.Format(time.RFC3339))
	}
	return lines
}

func printState(out io.Writer, s journal.State, connection []string) {
	consistent := "yes"
	if i := s.Inconsistency; i != nil {
		consistent = fmt.Sprintf("no, since %s: %s", i.Since.Format(time.RFC3339), i.Reason)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Consistent:\t%s\nPhase:\t%s\n", consistent, s.Phase)
	for i, line := range connection {
		fmt.Fprintf(w, "%s\t%s\n", []string{"Server:", ""}[min(i, 1)], line)
	}
	if u := s.Update; u != nil {
		fmt.Fprintf(w, "Update:\t%s, started %s\n", u.ID, u.Started.Format(time.RFC3339))
		for _, c := range u.Changes {
			fmt.Fprintf(w, "\t%s: %s\n", modulesOf([]journal.Change{c}), c.Stage)
		}
	}
	if q := s.Question; q != nil && q.Answer == "" {
		fmt.Fprintf(w, "To be confirmed:\t%s: %s\n\tgoshawk-agent confirm, or goshawk-agent deny\n", q.ID, softwareOf(q.Software))
	} else if q != nil {
		fmt.Fprintf(w, "%s:\t%s: %s\n\tthe server does not have this answer yet\n", q.Answer, q.ID, softwareOf(q.Software))
	}
	if l := s.Last; l != nil {
		fmt.Fprintf(w, "Last update:\t%s %s %s\n", l.ID, l.Outcome, l.Ended.Format(time.RFC3339))
		if l.Message != "" {
			fmt.Fprintf(w, "\t%s (code %s)\n", l.Message, l.Code)
		}
	}
	if len(s.Installed) > 0 {
		fmt.Fprintf(w, "\nTYPE\tNAME\tVERSION\n")
	}
	for _, m := range s.Installed {
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", m.Type, m.Name, m.Version, doubtAbout(m, s.Inconsistency))
	}
	_ = w.Flush()
}

func softwareOf(software []journal.Software) string {
	texts := make([]string, len(software))
	for i, m := range software {
		texts[i] = m.Name + " " + m.Version
	}
	return strings.Join(texts, ", ")
}

// doubtAbout returns a remark about the version of an inconsistent module, or "".
func doubtAbout(m journal.Software, i *journal.Inconsistency) string {
	if i == nil {
		return ""
	}
	for _, s := range i.Software {
		if s.Type == m.Type && s.Name == m.Name {
			return " before the failure; now inconsistent"
		}
	}
	return ""
}

func (p *program) history() *cobra.Command {
	output := output("text")
	c := &cobra.Command{
		Use: "history", Short: "Show the updates of this device, the newest last", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			config, err := agent.ReadConfig(p.config)
			if err != nil {
				return err
			}
			results, err := journal.ReadHistory(config.Folder)
			if err != nil {
				return err
			}
			ends := make([]journal.End, len(results))
			for i := range results {
				ends[i] = journal.EndOf(&results[i])
			}
			if output == "json" {
				encoder := json.NewEncoder(p.out)
				encoder.SetIndent("", "  ")
				return encoder.Encode(ends)
			}
			w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "ENDED\tUPDATE\tOUTCOME\tMODULES\tCODE\n")
			for _, e := range ends {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.Ended.Format(time.RFC3339), e.ID, e.Outcome, modulesOf(e.Changes), e.Code)
			}
			return w.Flush()
		},
	}
	output.addTo(c)
	return c
}

func modulesOf(changes []journal.Change) string {
	texts := make([]string, len(changes))
	for i, c := range changes {
		texts[i] = strings.TrimSpace(c.Name + " " + c.Version)
		if c.Removes {
			texts[i] = "removal of " + texts[i]
		}
		if c.Stage == update.RolledBack || c.Stage == update.Broken {
			texts[i] += " (" + string(c.Stage) + ")"
		}
	}
	return strings.Join(texts, ", ")
}

func (p *program) install() *cobra.Command {
	var m update.Module
	var set update.Set
	var metadata []string
	c := &cobra.Command{
		Use: "install FILE...", Short: "Install files without a server, and wait for the result", Args: cobra.MinimumNArgs(1),
		Long: "Install the files as one software module, without a server, and wait for the result. The running agent does it, or the\ncommand itself if none runs. The next connection to the server reports the new inventory.",
		Example: "  goshawk-agent install app-2.1.tar.gz --type bundle --name web --version 2.1\n" +
			"  goshawk-agent install app.conf --type file --name settings --version 3 --metadata path=/opt/app",
		RunE: func(c *cobra.Command, files []string) error {
			for _, file := range files {
				a, err := artifactOf(file)
				if err != nil {
					return err
				}
				m.Artifacts = append(m.Artifacts, a)
			}
			m.Metadata = map[string]string{}
			for _, entry := range metadata {
				key, value, ok := strings.Cut(entry, "=")
				if !ok {
					return fmt.Errorf("--metadata is %q, want key=value", entry)
				}
				m.Metadata[key] = value
			}
			r := agent.Request{Changes: []update.Change{{Module: m}}}
			if c.Flags().Changed("set") {
				r.Set = &set
			}
			return p.updateByHand(c.Context(), r)
		},
	}
	moduleFlags(c, &m)
	c.Flags().StringVar(&set.Name, "set", "", "name of the distribution set that the device runs then, if the server is to know it")
	c.Flags().StringVar(&set.Version, "set-version", "", "version of that distribution set")
	c.MarkFlagsRequiredTogether("set", "set-version")
	c.Flags().StringVar(&m.Version, "version", "", "version of the software module")
	c.Flags().StringArrayVar(&metadata, "metadata", nil, "metadata of the software module, as key=value")
	_ = c.MarkFlagRequired("version")
	return c
}

func (p *program) remove() *cobra.Command {
	var m update.Module
	c := &cobra.Command{
		Use: "remove", Short: "Remove a software module, and wait for the result", Args: cobra.NoArgs,
		Example: "  goshawk-agent remove --type bundle --name web",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.updateByHand(c.Context(), agent.Request{Changes: []update.Change{{Module: m, Removes: true}}})
		},
	}
	moduleFlags(c, &m)
	return c
}

func moduleFlags(c *cobra.Command, m *update.Module) {
	c.Flags().StringVar(&m.Type, "type", "", "type of the software module")
	c.Flags().StringVar(&m.Name, "name", "", "name of the software module")
	_ = c.MarkFlagRequired("type")
	_ = c.MarkFlagRequired("name")
}

func artifactOf(file string) (update.Artifact, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return update.Artifact{}, err
	}
	sum, size, err := disk.SHA256(path)
	if err != nil {
		return update.Artifact{}, err
	}
	return update.Artifact{Filename: filepath.Base(path), Size: size, SHA256: sum, URL: agent.FileURL(path)}, nil
}

// updateByHand lets the running agent do an update. If none runs, the command does it itself.
func (p *program) updateByHand(ctx context.Context, r agent.Request) error {
	config, err := agent.ReadConfig(p.config)
	if err != nil {
		return err
	}
	var result update.Result
	err = agent.Ask(ctx, config.Folder, "/update", r, &result)
	if errors.Is(err, agent.ErrNotRunning) {
		result, err = p.updateAlone(ctx, r)
	}
	if err != nil {
		return err
	}
	e := journal.EndOf(&result)
	fmt.Fprintf(p.out, "%s: %s\n", e.Outcome, modulesOf(e.Changes))
	switch {
	case result.Inconsistent && e.Outcome == update.Succeeded:
		return exit{exitInconsistent, errors.New("the device is inconsistent because of an earlier update: goshawk-agent status says why")}
	case result.Inconsistent:
		return exit{exitInconsistent, fmt.Errorf("%s (code %s); the device is inconsistent: goshawk-agent status says why", e.Message, e.Code)}
	case e.Outcome != update.Succeeded:
		return fmt.Errorf("%s (code %s)", e.Message, e.Code)
	}
	return nil
}

func (p *program) updateAlone(ctx context.Context, r agent.Request) (update.Result, error) {
	_, a, unlock, err := p.open()
	if err != nil {
		return update.Result{}, err
	}
	defer unlock()
	a.Server = nil
	result, err := a.UpdateAlone(ctx, r)
	if errors.Is(err, agent.ErrReboot) {
		return result, exit{exitReboot, err}
	}
	return result, err
}

func (p *program) confirm() *cobra.Command {
	return p.ask("confirm", "Confirm the update that waits for a person at this device", "/confirm")
}

func (p *program) deny() *cobra.Command {
	return p.ask("deny", "Deny the update that waits for a person at this device", "/deny")
}

func (p *program) rollback() *cobra.Command {
	return p.ask("rollback", "Cancel the update in progress, and roll back what it has changed", "/rollback")
}

func (p *program) poll() *cobra.Command {
	return p.ask("poll", "Let the agent ask the server for work now, and not after the interval", "/poll")
}

func (p *program) ask(use, short, path string) *cobra.Command {
	var r agent.Request
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := agent.ReadConfig(p.config)
			if err != nil {
				return err
			}
			err = agent.Ask(c.Context(), config.Folder, path, r, nil)
			if errors.Is(err, agent.ErrNotRunning) {
				return exit{exitNotRunning, errors.New("the agent does not run: start it with goshawk-agent run, or systemctl start goshawk-agent")}
			}
			return err
		},
	}
	if path == "/confirm" || path == "/deny" {
		c.Flags().StringVar(&r.Remark, "remark", "", "remark for the server")
	}
	return c
}
