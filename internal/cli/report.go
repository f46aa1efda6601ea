// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
)

// maxFailed is how many failed targets a report lists without --all.
const maxFailed = 50

func newReportCommand(o *Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "report ROLLOUT",
		Short: "Print the record of a rollout for an auditor",
		Long: `Prints the record of a rollout: which programs wrote the manifests, the plan, its hash and its
approval, every decision that is still known in the order of its time, the results by code, the
failed targets, the invalidation of the set, and what the record does not have. The same objects give
the same report.

--archive also writes the report to a ConfigMap of the namespace, which has no owner and so survives
the deletion of the rollout. Archiving again replaces it. For a rollout that does not exist any more,
the archived report is printed. --archive needs the ClusterRole goshawk-reporter.`,
		Example: `  # The record as Markdown
  kubectl goshawk report firmware-2-1 > firmware-2-1.md

  # For a program, with all failed targets
  kubectl goshawk report firmware-2-1 -o json --all

  # Keep it, also after the rollout is deleted
  kubectl goshawk report firmware-2-1 --archive

  # After the deletion
  kubectl goshawk report firmware-2-1`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeNames(&v1alpha1.Rollout{}, 1),
	}
	f := addFormat(c, Markdown, JSON, YAML)
	all := c.Flags().Bool("all", false, fmt.Sprintf("list all failed targets (default: the first %d)", maxFailed))
	archive := c.Flags().Bool("archive", false, "also write the report to a ConfigMap")
	uid := c.Flags().String("uid", "", "print the archived report of the rollout with this UID, if several rollouts had the name")
	exclude(c, "archive", "uid")
	c.RunE = func(c *cobra.Command, args []string) error {
		report, err := o.report(c.Context(), withoutKind(args[0], rolloutKinds), *uid, *all)
		if err != nil {
			return err
		}
		if *archive {
			if err := o.archive(c.Context(), report); err != nil {
				return err
			}
		}
		return o.print(f, report, func() string { return markdown(report) })
	}
	return c
}

// report returns the report of a rollout, or the archived one if the rollout does not exist or has
// another UID than the one that is asked for.
func (o *Options) report(ctx context.Context, name, uid string, all bool) (*explain.Report, error) {
	r := &v1alpha1.Rollout{}
	switch err := o.get(ctx, r, name); {
	case err == nil && (uid == "" || uid == string(r.Identity())):
		return o.liveReport(ctx, r, all)
	case err != nil && !isNotFound(err):
		return nil, err
	default:
		return o.archivedReport(ctx, name, uid, err)
	}
}

func isNotFound(err error) bool {
	var exit *ExitError
	return errors.As(err, &exit) && exit.Code == CodeNotFound
}

// liveReport reads the objects of a report. It keeps no target in memory but the failed ones.
func (o *Options) liveReport(ctx context.Context, r *v1alpha1.Rollout, all bool) (*explain.Report, error) {
	world := explain.ReportWorld{Rollout: r, MaxFailed: maxFailed}
	if all {
		world.MaxFailed = 0
	}
	if err := o.readSet(ctx, &world); err != nil {
		return nil, err
	}
	groups, err := groupsOf(ctx, o, r)
	if err != nil {
		return nil, err
	}
	world.Groups = groups
	o.readEvents(ctx, &world)
	b := explain.NewReport(world)
	if err := each(ctx, o, r.Namespace, &v1alpha1.TargetList{}, b.AddTarget); err != nil {
		return nil, err
	}
	return b.Result(), nil
}

// readSet reads the set of the rollout and its modules. What does not exist is left out.
func (o *Options) readSet(ctx context.Context, w *explain.ReportWorld) error {
	name := w.Rollout.Spec.Update.DistributionSet
	if name == "" {
		return nil
	}
	c, err := o.Client()
	if err != nil {
		return err
	}
	set := &v1alpha1.DistributionSet{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: w.Rollout.Namespace, Name: name}, set); err != nil {
		return client.IgnoreNotFound(err)
	}
	w.Set = set
	for _, ref := range set.Spec.Modules {
		module := &v1alpha1.SoftwareModule{}
		switch err := c.Get(ctx, client.ObjectKey{Namespace: set.Namespace, Name: ref.Name}, module); {
		case err == nil:
			w.Modules = append(w.Modules, module)
		case apierrors.IsNotFound(err):
			w.Modules = append(w.Modules, nil)
		default:
			return err
		}
	}
	return nil
}

// readEvents reads the events about the rollout and its set. An error becomes a gap of the report,
// because a viewer of Goshawk may lack the right to read events.
func (o *Options) readEvents(ctx context.Context, w *explain.ReportWorld) {
	type object struct {
		kind string
		uid  types.UID
	}
	about := map[object]string{{"Rollout", w.Rollout.UID}: "Rollout " + w.Rollout.Name}
	names := []string{w.Rollout.Name}
	if w.Set != nil {
		about[object{"DistributionSet", w.Set.UID}] = "DistributionSet " + w.Set.Name
		if w.Set.Name != w.Rollout.Name {
			names = append(names, w.Set.Name)
		}
	}
	for _, name := range names {
		events, err := listAll[corev1.Event](ctx, o, &corev1.EventList{}, client.InNamespace(w.Rollout.Namespace), client.MatchingFields{"involvedObject.name": name})
		if err != nil {
			w.Unread = append(w.Unread, fmt.Sprintf("Events about %s could not be read: %v.", name, err))
			continue
		}
		for _, e := range events {
			if name := about[object{e.InvolvedObject.Kind, e.InvolvedObject.UID}]; name != "" {
				w.Events = append(w.Events, explain.ReportEvent{Time: eventTime(e), Object: name, Reason: e.Reason, Message: e.Message, Count: eventCount(e)})
			}
		}
	}
}

// eventTime returns when an event last happened, in either form of the API.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.CreationTimestamp.Time
}

func eventCount(e *corev1.Event) int32 {
	if e.Series != nil {
		return e.Series.Count
	}
	return cmp.Or(e.Count, 1)
}
