// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// targetKinds are the words for the kind that may be before the name of a target.
var targetKinds = []string{"target", "targets", "targets.goshawk.dev", "tgt"}

// compareCommand is `kubectl goshawk compare`.
type compareCommand struct {
	*Options
	format   *format
	selector string
	rollout  string
	limit    int
}

func newCompareCommand(o *Options) *cobra.Command {
	s := &compareCommand{Options: o}
	c := &cobra.Command{
		Use:   "compare TARGET [TARGET]",
		Short: "Show what differs between two targets, or between a target and its peers",
		Long: `Shows what differs between two targets: spec, labels, what they run, conditions, attributes, the
reported software and hardware, and the newest action.

With one target it shows in which facts the target is not like most of its peers: the targets of
the same spec.type, or those of --selector, or with --rollout the members of its group. At most
--limit peers are read.`,
		Example: `  # Why does one of two gateways fail?
  kubectl goshawk compare gateway-017 gateway-018

  # What is special about this gateway?
  kubectl goshawk compare gateway-017

  # Compare it with the other gateways of its site
  kubectl goshawk compare gateway-017 -l hardware=gateway,site=berlin

  # Compare it with the other members of its group in this rollout
  kubectl goshawk compare gateway-017 --rollout firmware-2-1`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: o.completeNames(&v1alpha1.Target{}, 2),
	}
	s.format = addFormat(c, Text, JSON, YAML)
	flags := c.Flags()
	flags.StringVarP(&s.selector, "selector", "l", "", "the peers are the targets with these labels")
	flags.StringVar(&s.rollout, "rollout", "", "the peers are the members of the group of the target in this Rollout")
	flags.IntVar(&s.limit, "limit", 500, "maximum number of peers, 1 to 10000")
	o.completeFlag(c, "rollout", &v1alpha1.Rollout{})
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := s.check(args); err != nil {
			return usageError(c, err)
		}
		if len(args) == 2 {
			return s.compareTwo(c.Context(), withoutKind(args[0], targetKinds), withoutKind(args[1], targetKinds))
		}
		return s.compareWithPeers(c.Context(), withoutKind(args[0], targetKinds))
	}
	return c
}

func (s *compareCommand) check(args []string) error {
	switch {
	case len(args) == 2 && (s.selector != "" || s.rollout != ""):
		return errors.New("--selector and --rollout choose the peers of one target: give one target")
	case s.selector != "" && s.rollout != "":
		return errors.New("give --selector or --rollout, not both")
	case s.limit < 1 || s.limit > 10_000:
		return fmt.Errorf("--limit is %d; it must be 1 to 10000", s.limit)
	}
	if _, err := labels.Parse(s.selector); err != nil {
		return fmt.Errorf("--selector %q: %w", s.selector, err)
	}
	return nil
}

func (s *compareCommand) compareTwo(ctx context.Context, left, right string) error {
	var both []explain.Compared
	for _, name := range []string{left, right} {
		c, err := s.readTarget(ctx, name)
		if err != nil {
			return err
		}
		both = append(both, c)
	}
	c := explain.Compare(both[0], both[1])
	return s.print(s.format, c, func() string {
		if len(c.Differences) == 0 {
			return fmt.Sprintf("No difference in %s.\n", text.Count(c.Same, "fact"))
		}
		rows := [][]string{{"FACT", c.Left, c.Right}}
		for _, d := range c.Differences {
			rows = append(rows, []string{d.Fact, cmp.Or(d.Left, "-"), cmp.Or(d.Right, "-")})
		}
		return fmt.Sprintf("%s\n%s the same.\n", table(0, rows), isAre(c.Same, "fact"))
	})
}

func isAre(n int, noun string) string {
	if n == 1 {
		return text.Count(n, noun) + " is"
	}
	return text.Count(n, noun) + " are"
}

// readTarget reads a target and its inventory.
func (s *compareCommand) readTarget(ctx context.Context, name string) (explain.Compared, error) {
	t, i := &v1alpha1.Target{}, &v1alpha1.TargetInventory{}
	if err := s.get(ctx, t, name); err != nil {
		return explain.Compared{}, err
	}
	c, err := s.Client()
	if err != nil {
		return explain.Compared{}, err
	}
	switch err := c.Get(ctx, client.ObjectKeyFromObject(t), i); {
	case apierrors.IsNotFound(err):
		return explain.Compared{Target: t}, nil
	case err != nil:
		return explain.Compared{}, err
	}
	return explain.Compared{Target: t, Inventory: i}, nil
}

func (s *compareCommand) compareWithPeers(ctx context.Context, name string) error {
	target, err := s.readTarget(ctx, name)
	if err != nil {
		return err
	}
	peers, of, err := s.peers(ctx, target.Target)
	if err != nil {
		return err
	}
	if len(peers) == 0 {
		return &ExitError{Code: CodeNotFound, Err: fixed{fmt.Errorf("target %s has no peers: there are no other %s", name, of), "choose the peers with --selector or --rollout, or name two targets"}}
	}
	if err := s.addInventories(ctx, target.Target.Namespace, peers); err != nil {
		return err
	}
	c := explain.CompareWithPeers(target, peers)
	return s.print(s.format, c, func() string {
		head := fmt.Sprintf("%s compared with %s: %s\n", name, text.Count(c.Peers, "peer"), of)
		if len(c.Deviations) == 0 {
			return head + "It is like most of them in all facts.\n"
		}
		rows := [][]string{{"FACT", name, "MOST PEERS", "PEERS", "LIKE IT"}}
		for _, d := range c.Deviations {
			rows = append(rows, []string{d.Fact, cmp.Or(d.Value, "-"), cmp.Or(d.Usual, "-"), fmt.Sprintf("%d/%d", d.Peers, c.Peers), fmt.Sprint(d.Alike)})
		}
		return fmt.Sprintf("%s\n%s\n%s as usual.\n", head, table(0, rows), isAre(c.Same, "fact"))
	})
}

// peers returns at most --limit peers of a target, and which targets they are.
func (s *compareCommand) peers(ctx context.Context, of *v1alpha1.Target) (peers []explain.Compared, are string, err error) {
	isPeer, options := func(t *v1alpha1.Target) bool { return t.Spec.Type == of.Spec.Type }, []client.ListOption{client.InNamespace(of.Namespace)}
	are = explain.PeersWords(of)
	switch {
	case s.selector != "":
		selector, err := labels.Parse(s.selector)
		if err != nil {
			return nil, "", err
		}
		options = append(options, client.MatchingLabelsSelector{Selector: selector})
		isPeer, are = func(*v1alpha1.Target) bool { return true }, "targets with the labels "+s.selector
	case s.rollout != "":
		members, group, err := s.groupWith(ctx, of.Name)
		if err != nil {
			return nil, "", err
		}
		isPeer, are = func(t *v1alpha1.Target) bool { return members[t.Name] }, fmt.Sprintf("members of group %s of Rollout %s", group, s.rollout)
	}
	err = eachPage(ctx, s.Options, &v1alpha1.TargetList{}, func(page []*v1alpha1.Target) bool {
		for _, t := range page {
			if t.Name != of.Name && isPeer(t) {
				peers = append(peers, explain.Compared{Target: t})
			}
			if len(peers) == s.limit {
				return false
			}
		}
		return true
	}, options...)
	return peers, are, err
}

// groupWith returns the members of the group of --rollout that has a target.
func (s *compareCommand) groupWith(ctx context.Context, target string) (members map[string]bool, group string, err error) {
	r := &v1alpha1.Rollout{}
	if err := s.get(ctx, r, withoutKind(s.rollout, rolloutKinds)); err != nil {
		return nil, "", err
	}
	groups, err := groupsOf(ctx, s.Options, r)
	if err != nil {
		return nil, "", err
	}
	for _, g := range groups {
		if !slices.Contains(g.Spec.Targets, v1alpha1.TargetName(target)) {
			continue
		}
		members = map[string]bool{}
		for _, name := range g.Spec.Targets {
			members[string(name)] = true
		}
		return members, g.Spec.Group, nil
	}
	return nil, "", &ExitError{Code: CodeNotFound, Err: fixed{fmt.Errorf("target %s is not a member of Rollout %s/%s", target, r.Namespace, r.Name),
		fmt.Sprintf("`kubectl goshawk why %s %s` says why", target, r.Name)}}
}

// addInventories reads the inventories of the targets, in pages.
func (s *compareCommand) addInventories(ctx context.Context, namespace string, targets []explain.Compared) error {
	places := map[string]int{}
	for i := range targets {
		places[targets[i].Target.Name] = i
	}
	missing := len(targets)
	err := eachPage(ctx, s.Options, &v1alpha1.TargetInventoryList{}, func(page []*v1alpha1.TargetInventory) bool {
		for _, inventory := range page {
			if i, isPeer := places[inventory.Name]; isPeer {
				targets[i].Inventory = inventory
				missing--
			}
		}
		return missing > 0
	}, client.InNamespace(namespace))
	if err != nil {
		return fmt.Errorf("read the inventories: %w", err)
	}
	return nil
}
