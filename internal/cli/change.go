// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/progress"
	"github.com/goshawk-dev/goshawk/internal/proposal"
)

// changing are the flags of the commands that change a field.
type changing struct {
	patch, apply, force, yes bool
	format                   *format
}

func addChanging(c *cobra.Command) *changing {
	f := &changing{}
	flags := c.Flags()
	flags.BoolVar(&f.patch, "patch", false, "print only the YAML of the change, for a commit")
	flags.BoolVar(&f.apply, "apply", false, "write the change to the cluster")
	flags.BoolVar(&f.force, "force", false, "with --apply: write the field also if Argo CD, Flux or Helm owns it")
	f.format = addFormat(c, Text, JSON, YAML)
	exclude(c, "patch", "apply")
	exclude(c, "patch", "output")
	return f
}

// exclude makes it an error to give both flags.
func exclude(c *cobra.Command, one, other string) {
	before := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if c.Flags().Changed(one) && c.Flags().Changed(other) {
			return usageError(c, fmt.Errorf("--%s and --%s do not go together", one, other))
		}
		if before == nil {
			return nil
		}
		return before(c, args)
	}
}

// addYes adds --yes to a command that asks for a confirmation.
func (f *changing) addYes(c *cobra.Command) {
	c.Flags().BoolVar(&f.yes, "yes", false, "with --apply: do not ask for a confirmation")
}

// howToChange is the part of the help that all commands share that change a field.
const howToChange = `The command prints the field that it would change, the effect, the rights that it needs, the same
change with kubectl, and the YAML for a commit. It writes nothing without --apply. A change that was
applied belongs into Git as well: the next sync sets a field that is in Git back.`

// operand is one object, and the operation on it. compute is called again with the present object
// if the object has changed before the write.
type operand struct {
	object  client.Object
	name    string
	compute func() (*operation.Change, error)
}

// proposed is a proposal as a command prints it.
type proposed struct {
	*proposal.Proposal
	// width is how many columns a line of text may have.
	width int
	// unknownRights is the error of the question for the rights of the user.
	unknownRights error
}

// change carries out an operation on one object, as the flags say.
func (o *Options) change(ctx context.Context, f *changing, of operand) error {
	if err := o.get(ctx, of.object, of.name); err != nil {
		return err
	}
	change, err := of.compute()
	if err != nil {
		return refusal(err)
	}
	if f.patch {
		return o.printManifest(change)
	}
	made, err := proposal.Of(change, of.object)
	if err != nil {
		return err
	}
	p := &proposed{Proposal: made, width: o.width()}
	if !f.apply || change.Forced && !f.yes { // else the write itself is the answer
		p.unknownRights = o.askRights(ctx, p.Namespace, p.Rights)
	}
	if !f.apply {
		return o.print(f.format, p.Proposal, p.text)
	}
	if err := o.mayApply(f, p); err != nil {
		return err
	}
	if err := o.apply(ctx, of, p); err != nil {
		return err
	}
	p.Applied = true
	return o.print(f.format, p.Proposal, p.appliedText)
}

// refusal makes an error of package operation an error with a fix.
func refusal(err error) error {
	var refused *operation.Refusal
	if errors.As(err, &refused) && refused.Fix != "" {
		return fixed{refused, refused.Fix}
	}
	return err
}

// printManifest prints the part of the manifest that changes.
func (o *Options) printManifest(c *operation.Change) error {
	text, err := proposal.Part(c)
	if err != nil {
		return err
	}
	_, err = io.WriteString(o.Out, text)
	return err
}

// askRights asks the API server whether the user has the rights.
func (o *Options) askRights(ctx context.Context, namespace string, rights []operation.Right) error {
	c, err := o.Client()
	if err != nil {
		return err
	}
	return proposal.AskRights(ctx, c, namespace, rights)
}

// mayApply reports whether the change may be written: no GitOps tool owns a field, or --force is
// given, and a person has confirmed what interrupts devices.
func (o *Options) mayApply(f *changing, p *proposed) error {
	if len(p.Owners) > 0 && !f.force {
		return fixed{errors.New("not applied: " + strings.Join(p.OwnerSentences(), "; ")),
			"commit the change (--patch prints it); or write it with --force, and commit it before the next sync"}
	}
	if !p.Forced || f.yes {
		return nil
	}
	if !o.AsksTerminal() {
		return fixed{fmt.Errorf("not applied: %s of %s with Force interrupts devices and needs a confirmation, and the input is no terminal", p.Operation, p.Name),
			"give --yes to confirm it in a script"}
	}
	fmt.Fprint(o.ErrOut, progress.Visible(p.details()), "\nDevices are interrupted without being asked. Type the name ", p.Name, " to confirm: ")
	typed, err := bufio.NewReader(o.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(typed) != p.Name {
		return fmt.Errorf("not applied: %q was typed, not %q", strings.TrimSpace(typed), p.Name)
	}
	return nil
}

// apply writes the change. After a conflict it is written only if it is still the one that was
// shown.
func (o *Options) apply(ctx context.Context, of operand, p *proposed) error {
	c, err := o.Client()
	if err != nil {
		return err
	}
	w := proposal.Write{Client: c, Manager: FieldManager, Object: of.object, Compute: of.compute,
		Read: func(ctx context.Context) error { return o.get(ctx, of.object, of.name) }}
	err = w.Apply(ctx, p.Change)
	switch {
	case errors.As(err, new(*proposal.ChangedError)):
		return fixed{err, "run the command again"}
	case errors.As(err, new(*proposal.BusyError)):
		return fixed{err, "run the command again, or use the line of kubectl"}
	}
	return refusal(err)
}

// heading is the first line about a change.
func (p *proposed) heading() string {
	return fmt.Sprintf("%s of %s %s/%s (%s)\n", p.Operation, p.Kind, p.Namespace, p.Name, p.State)
}

func (p *proposed) effectText(out *strings.Builder) {
	for _, line := range proposal.FieldLines(p.Change) {
		fmt.Fprintf(out, "  %s\n", line)
	}
	fmt.Fprintln(out, "\neffect:")
	for _, sentence := range p.Effect {
		out.WriteString(hanging(p.width, sentence))
	}
	if p.Undo != "" {
		fmt.Fprintf(out, "  Way back: %s\n", p.Undo)
	}
}

// text returns the proposal for a person.
func (p *proposed) text() string { return p.details() + "\nnothing was written; --apply writes it\n" }

// details returns all that a person needs to decide.
func (p *proposed) details() string {
	var out strings.Builder
	out.WriteString(p.heading())
	p.effectText(&out)
	p.rightsText(&out)
	if sentences := p.OwnerSentences(); len(sentences) > 0 {
		fmt.Fprintln(&out, "\nowner (--apply needs --force):")
		for _, sentence := range sentences {
			out.WriteString(hanging(p.width, sentence+"."))
		}
	} else if len(p.Origins) > 0 {
		fmt.Fprintf(&out, "\nowner:\n  %s %s applies this object, and does not own these fields.\n", p.Origins[0].Tool, p.Origins[0].Object)
	}
	fmt.Fprintf(&out, "\nkubectl:\n  %s\n", p.Kubectl)
	manifest, err := proposal.Part(p.Change)
	if err == nil {
		fmt.Fprintf(&out, "\ncommit:\n%s", indent(manifest))
	}
	if p.ManifestURL != "" {
		fmt.Fprintf(&out, "\nmanifest in Git:\n  %s\n", p.ManifestURL)
	}
	return out.String()
}

// appliedText returns what was written, for a person.
func (p *proposed) appliedText() string {
	var out strings.Builder
	out.WriteString(p.heading())
	p.effectText(&out)
	fmt.Fprintf(&out, "\napplied to %s %s/%s\n", p.Kind, p.Namespace, p.Name)
	if len(p.Origins) > 0 || p.ManifestURL != "" {
		fmt.Fprintln(&out, "commit the same change: --patch prints it")
	}
	if p.ManifestURL != "" {
		fmt.Fprintf(&out, "manifest in Git: %s\n", p.ManifestURL)
	}
	return out.String()
}

func (p *proposed) rightsText(out *strings.Builder) {
	fmt.Fprintf(out, "\nrights in namespace %s (%s):\n", p.Namespace, p.verdict())
	var rows [][]string
	for _, right := range p.Rights {
		answer, more := "yes", ""
		switch {
		case right.Allowed == nil:
			answer = "?"
		case !*right.Allowed:
			answer, more = "no", "the ClusterRole "+right.Role+" gives it"
		}
		rows = append(rows, []string{answer, right.String(), more})
	}
	out.WriteString(table(2, rows))
	if p.unknownRights != nil {
		fmt.Fprintf(out, "  The API server did not say whether you have them: %v\n", p.unknownRights)
	}
}

// hanging returns a sentence as lines of at most width columns, of which all but the first have a
// larger indent.
func hanging(width int, sentence string) string {
	lines := strings.SplitAfter(wrapped(4, width, sentence), "\n")
	return strings.TrimPrefix(strings.Join(lines, ""), "  ")
}

// width returns how many columns a line of text may have.
func (o *Options) width() int {
	if columns, _, ok := o.TerminalSize(); ok {
		return columns
	}
	return pipeWidth
}

// pipeWidth is the width of text that does not go to a terminal.
const pipeWidth = 100

// verdict says whether the user has all rights.
func (p *proposed) verdict() string {
	switch missing := operation.Missing(p.Rights); {
	case p.unknownRights != nil:
		return "it is not known whether you may do this"
	case len(missing) > 0:
		return "you may not do this"
	}
	return "you may do this"
}

func indent(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString("  " + line)
	}
	return out.String()
}
