// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/fleet"
)

func newWhyCommand(o *Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "why TARGET [ROLLOUT]",
		Short: "Say what a device gets now, and why",
		Long: "Says what the device of a target gets if it asks now, and why; which update is next and what it\n" +
			"waits for; each rollout, auto-assignment and assignment that selects the target, with its reason;\n" +
			"and which field changes that. It applies the rules of the device API.\n\n" +
			"With the name of a rollout only the reason of this rollout is listed.",
		Example: `  # What does this device get now?
  kubectl goshawk why dev-0017

  # Why does the device not get the update of this rollout?
  kubectl goshawk why dev-0017 firmware-2-1

  # The same for a program
  kubectl goshawk why dev-0017 -o json`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: o.completeWhy,
	}
	f := addFormat(c, Text, JSON, YAML)
	c.RunE = func(c *cobra.Command, args []string) error {
		rollout := ""
		if len(args) > 1 {
			rollout = withoutKind(args[1], rolloutKinds)
		}
		why, err := o.why(c.Context(), withoutKind(args[0], targetKinds), rollout)
		if err != nil {
			return err
		}
		width := o.Style().Width
		return o.print(f, why, func() string { return whyText(why, width) })
	}
	return c
}

func (o *Options) completeWhy(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return o.namesStarting(c.Context(), &v1alpha1.Target{}, typed, nil), cobra.ShellCompDirectiveNoFileComp
	case 1:
		return o.namesStarting(c.Context(), &v1alpha1.Rollout{}, typed, nil), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// why reads what an offer to the target depends on, and explains it.
func (o *Options) why(ctx context.Context, name, rollout string) (*explain.WhyTarget, error) {
	target := &v1alpha1.Target{}
	if err := o.get(ctx, target, name); err != nil {
		return nil, err
	}
	if rollout != "" {
		if err := o.get(ctx, &v1alpha1.Rollout{}, rollout); err != nil {
			return nil, err
		}
	}
	c, err := o.Client()
	if err != nil {
		return nil, err
	}
	objects, err := list(ctx, c, target.Namespace, sources()...)
	if err != nil {
		return nil, err
	}
	objects = append(objects, target)
	inventory := &v1alpha1.TargetInventory{}
	switch err := c.Get(ctx, client.ObjectKeyFromObject(target), inventory); {
	case err == nil:
		objects = append(objects, inventory)
	case !apierrors.IsNotFound(err):
		return nil, err
	}
	x, err := fleet.Of(objects)
	if err != nil {
		return nil, err
	}
	why := explain.Why(x, target, rollout, o.Now())
	return &why, nil
}

// whyText returns the explanation for people.
func whyText(w *explain.WhyTarget, width int) string {
	var out strings.Builder
	out.WriteString("Target " + w.Namespace + "/" + w.Target + "\n" + table(2, facts(w)))
	for _, n := range w.Conditions {
		out.WriteString(wrapped(2, width, n.Words()))
	}
	out.WriteString("\nNow: " + w.Now.Words() + "\n")
	if w.Pending != "" {
		out.WriteString(wrapped(2, width, "before the answer: "+w.Pending))
	}
	out.WriteString(reasonText(width, w.Now.Code, w.Now.Message, w.Now.Until, w.Now.Change))
	if n := w.Next; n != nil {
		out.WriteString("\nNext: " + n.Update + ", from " + n.Source.Words() + "\n")
		out.WriteString(reasonText(width, n.Code, n.Message, n.Until, n.Change))
	}
	out.WriteString("\n" + updatesText(w.Updates, width))
	if len(w.Actions) > 0 {
		out.WriteString("\nActions, the newest first:\n" + actionsText(w.Actions, width))
	}
	return out.String()
}

func facts(w *explain.WhyTarget) [][]string {
	var rows [][]string
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	if w.ControllerID != w.Target {
		add("controllerID", w.ControllerID)
	}
	add("type", w.Type)
	add("updateStatus", string(w.UpdateStatus))
	installed := w.Installed
	if w.InstalledSince != nil {
		installed += " since " + stampOf(w.InstalledSince)
	}
	add("installed", installed)
	add("", w.Invalidated)
	add("lastSeen", stampOf(w.LastSeen))
	return rows
}

// reasonText returns a message with its code, until when it holds, and what changes it.
func reasonText(width int, code, message string, until *metav1.Time, change *explain.Change) string {
	out := wrapped(2, width, explain.ReasonWords(code, message, until))
	if change != nil {
		out += wrapped(2, width, "to change it: "+change.Words())
	}
	return out
}

func updatesText(updates []explain.Reach, width int) string {
	if len(updates) == 0 {
		return "No rollout, auto-assignment or assignment selects this target.\n"
	}
	out := "Updates, in the order in which they are offered:\n"
	for i := range updates {
		u := &updates[i]
		since := ""
		if u.Since != nil {
			since = ", since " + stamp(u.Since.Time)
		}
		out += fmt.Sprintf("  %d. %s: %s%s%s\n", i+1, u.Source.Words(), u.Update, since, word(u.Offered, ", offered now"))
		for line := range strings.Lines(reasonText(width-3, u.Code, u.Message, u.Until, u.Change)) {
			out += "   " + line
		}
	}
	return out
}

func word(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

func actionsText(actions []explain.PastAction, width int) string {
	var rows [][]string
	for i := range actions {
		a := &actions[i]
		end := "open"
		if a.ClosedAt != nil {
			end = stampOf(a.ClosedAt)
		}
		code := a.StatusCode
		if code != "" {
			code = "code " + code
		}
		rows = append(rows, []string{strconv.Itoa(int(a.ID)), string(a.State), a.Update, a.Source.Words(), word(a.Attempt > 1, fmt.Sprintf("attempt %d", a.Attempt)), stampOf(a.StartedAt), end, code, word(a.Cancel != "", "cancel: "+a.Cancel)})
	}
	lines := strings.SplitAfter(table(2, rows), "\n")
	out := ""
	for i := range actions {
		out += lines[i]
		if actions[i].Message != "" {
			out += wrapped(6, width, strconv.Quote(actions[i].Message))
		}
	}
	return out
}
