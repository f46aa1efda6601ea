// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/operation"
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

// proposal is a change with what a person needs to decide about it. It is the output for programs.
type proposal struct {
	*operation.Change
	// Patch is the change as a merge patch, and Kubectl the command that makes it.
	Patch   map[string]any `json:"patch"`
	Kubectl string         `json:"kubectl"`
	// Owners are GitOps tools that own a changed field. Origins are their objects that apply the
	// manifest.
	Owners  []operation.Owner  `json:"owners,omitempty"`
	Origins []operation.Origin `json:"origins,omitempty"`
	// Applied is true if the change was written.
	Applied bool `json:"applied"`

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
	p, err := o.proposalOf(change, of.object)
	if err != nil {
		return err
	}
	if !f.apply || change.Forced && !f.yes { // else the write itself is the answer
		p.unknownRights = o.askRights(ctx, p.Namespace, p.Rights)
	}
	if !f.apply {
		return o.print(f.format, p, p.text)
	}
	if err := o.mayApply(f, p); err != nil {
		return err
	}
	if err := o.apply(ctx, of, p); err != nil {
		return err
	}
	p.Applied = true
	return o.print(f.format, p, p.appliedText)
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
	text, err := manifestText(c)
	if err != nil {
		return err
	}
	_, err = io.WriteString(o.Out, text)
	return err
}

func manifestText(c *operation.Change) (string, error) {
	data, err := yaml.Marshal(c.Manifest())
	return string(data), err
}

func (o *Options) proposalOf(change *operation.Change, object client.Object) (*proposal, error) {
	p := &proposal{Change: change, Patch: change.Patch(), Owners: operation.OwnersOf(object, change.Fields), Origins: operation.OriginsOf(object), width: o.width()}
	line, err := kubectlLine(p, resourceOf(object))
	if err != nil {
		return nil, err
	}
	p.Kubectl = line
	return p, nil
}

// kubectlLine returns the command of kubectl that makes the change.
func kubectlLine(p *proposal, resource string) (string, error) {
	data, err := json.Marshal(p.Patch)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("kubectl -n %s patch %s %s --type=merge -p '%s'", p.Namespace, resource, p.Name, strings.ReplaceAll(string(data), "'", `'\''`)), nil
}

// askRights asks the API server whether the user has the rights. If it does not answer, they stay
// unknown.
func (o *Options) askRights(ctx context.Context, namespace string, rights []operation.Right) error {
	c, err := o.Client()
	if err != nil {
		return err
	}
	for i := range rights {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: rights[i].Verb, Group: v1alpha1.GroupVersion.Group, Resource: rights[i].Resource, Name: rights[i].Name}}}
		if err := c.Create(ctx, review); err != nil {
			return err
		}
		rights[i].Allowed = &review.Status.Allowed
	}
	return nil
}

// mayApply reports whether the change may be written: no GitOps tool owns a field, or --force is
// given, and a person has confirmed what interrupts devices.
func (o *Options) mayApply(f *changing, p *proposal) error {
	if len(p.Owners) > 0 && !f.force {
		return fixed{errors.New("not applied: " + strings.Join(p.ownerSentences(), "; ")),
			"commit the change (--patch prints it); or write it with --force, and commit it before the next sync"}
	}
	if !p.Forced || f.yes {
		return nil
	}
	if !o.AsksTerminal() {
		return fixed{fmt.Errorf("not applied: %s of %s with Force interrupts devices and needs a confirmation, and the input is no terminal", p.Operation, p.Name),
			"give --yes to confirm it in a script"}
	}
	fmt.Fprint(o.ErrOut, p.details(), "\nDevices are interrupted without being asked. Type the name ", p.Name, " to confirm: ")
	typed, err := bufio.NewReader(o.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(typed) != p.Name {
		return fmt.Errorf("not applied: %q was typed, not %q", strings.TrimSpace(typed), p.Name)
	}
	return nil
}

// maxAttempts bounds how often a change is written again after a conflict: the controllers write
// the status of the object at the same time, in a busy rollout about once a second.
const maxAttempts = 30

// apply writes the change as a merge patch that holds for the version of the object that was read.
// After a conflict it reads the object again, and writes only if the change is still the one that
// was shown.
func (o *Options) apply(ctx context.Context, of operand, p *proposal) error {
	c, err := o.Client()
	if err != nil {
		return err
	}
	for range maxAttempts {
		body := p.Change.Patch()
		body["metadata"] = map[string]any{"resourceVersion": of.object.GetResourceVersion()}
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		err = c.Patch(ctx, of.object, client.RawPatch(types.MergePatchType, data), client.FieldOwner(FieldManager))
		if !apierrors.IsConflict(err) {
			return err
		}
		if err := o.get(ctx, of.object, of.name); err != nil {
			return err
		}
		now, err := of.compute()
		if err != nil {
			return refusal(err)
		}
		if !p.SameFields(now) {
			return fixed{fmt.Errorf("not applied: %s %s/%s was changed meanwhile: %s", p.Kind, p.Namespace, p.Name, strings.Join(fieldLines(now), "; ")), "run the command again"}
		}
	}
	return fixed{fmt.Errorf("not applied: %s %s/%s changed at every one of %d attempts", p.Kind, p.Namespace, p.Name, maxAttempts), "run the command again, or use the line of kubectl"}
}

// fieldLines returns a line for each field: its path, the present value and the next one.
func fieldLines(c *operation.Change) []string {
	var lines []string
	for _, f := range c.Fields {
		lines = append(lines, fmt.Sprintf("%s: %s -> %s", f.Path, valueText(f.Old), valueText(f.New)))
	}
	return lines
}

func valueText(value any) string {
	switch v := value.(type) {
	case nil:
		return "(not set)"
	case string:
		return v
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}

func (p *proposal) ownerSentences() []string {
	var sentences []string
	for _, owner := range p.Owners {
		sentence := fmt.Sprintf("%s owns %s (field manager %s", owner.Tool, owner.Field, owner.Manager)
		for _, origin := range p.Origins {
			if origin.Tool == owner.Tool {
				sentence += ", " + origin.Object
			}
		}
		sentences = append(sentences, sentence+"), and its next sync sets the field back to the value in Git")
	}
	return sentences
}

// heading is the first line about a change.
func (p *proposal) heading() string {
	return fmt.Sprintf("%s of %s %s/%s (%s)\n", p.Operation, p.Kind, p.Namespace, p.Name, p.State)
}

func (p *proposal) effectText(out *strings.Builder) {
	for _, line := range fieldLines(p.Change) {
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
func (p *proposal) text() string { return p.details() + "\nnothing was written; --apply writes it\n" }

// details returns all that a person needs to decide.
func (p *proposal) details() string {
	var out strings.Builder
	out.WriteString(p.heading())
	p.effectText(&out)
	p.rightsText(&out)
	if sentences := p.ownerSentences(); len(sentences) > 0 {
		fmt.Fprintln(&out, "\nowner (--apply needs --force):")
		for _, sentence := range sentences {
			out.WriteString(hanging(p.width, sentence+"."))
		}
	} else if len(p.Origins) > 0 {
		fmt.Fprintf(&out, "\nowner:\n  %s %s applies this object, and does not own these fields.\n", p.Origins[0].Tool, p.Origins[0].Object)
	}
	fmt.Fprintf(&out, "\nkubectl:\n  %s\n", p.Kubectl)
	manifest, err := manifestText(p.Change)
	if err == nil {
		fmt.Fprintf(&out, "\ncommit:\n%s", indent(manifest))
	}
	return out.String()
}

// appliedText returns what was written, for a person.
func (p *proposal) appliedText() string {
	var out strings.Builder
	out.WriteString(p.heading())
	p.effectText(&out)
	fmt.Fprintf(&out, "\napplied to %s %s/%s\n", p.Kind, p.Namespace, p.Name)
	if len(p.Origins) > 0 {
		fmt.Fprintln(&out, "commit the same change: --patch prints it")
	}
	return out.String()
}

func (p *proposal) rightsText(out *strings.Builder) {
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
func (p *proposal) verdict() string {
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
