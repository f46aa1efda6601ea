// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/inventory"
)

// Compared is one target with its inventory, if it has one.
type Compared struct {
	Target    *v1alpha1.Target
	Inventory *v1alpha1.TargetInventory
}

// PeersWords says which targets are the peers of a target: those of its namespace and type.
func PeersWords(t *v1alpha1.Target) string {
	if t.Spec.Type == "" {
		return "targets without spec.type in namespace " + t.Namespace
	}
	return fmt.Sprintf("targets of type %s in namespace %s", t.Spec.Type, t.Namespace)
}

// Difference is a fact that two targets do not share. An absent value is "".
type Difference struct {
	Fact  string `json:"fact"`
	Left  string `json:"left"`
	Right string `json:"right"`
}

// Comparison is what differs between two targets.
type Comparison struct {
	Namespace   string       `json:"namespace"`
	Left        string       `json:"left"`
	Right       string       `json:"right"`
	Differences []Difference `json:"differences"`
	// Same is the number of facts that both have with the same value.
	Same int `json:"same"`
}

// Deviation is a fact of one target that most of its peers have with another value.
type Deviation struct {
	Fact  string `json:"fact"`
	Value string `json:"value"`
	// Usual is the most frequent value of the peers. Peers is how many of them have it, and Alike
	// how many have the value of the target.
	Usual string `json:"usual"`
	Peers int    `json:"peers"`
	Alike int    `json:"alike"`
}

// PeerComparison is what sets one target apart from its peers.
type PeerComparison struct {
	Namespace string `json:"namespace"`
	Target    string `json:"target"`
	// Peers is how many targets it was compared with.
	Peers      int         `json:"peers"`
	Deviations []Deviation `json:"deviations"`
	// Same is the number of facts with the most frequent value.
	Same int `json:"same"`
}

// Compare returns what differs between two targets, in the order of their facts.
func Compare(left, right Compared) Comparison {
	c := Comparison{Namespace: left.Target.Namespace, Left: left.Target.Name, Right: right.Target.Name, Differences: []Difference{}}
	a, b := factsOf(left), factsOf(right)
	for _, fact := range sortedFacts(a, b) {
		if a[fact] == b[fact] {
			c.Same++
			continue
		}
		c.Differences = append(c.Differences, Difference{Fact: fact, Left: a[fact], Right: b[fact]})
	}
	return c
}

// CompareWithPeers returns the facts of a target for which most of its peers have another value:
// first those that the fewest peers share.
func CompareWithPeers(target Compared, peers []Compared) PeerComparison {
	c := PeerComparison{Namespace: target.Target.Namespace, Target: target.Target.Name, Peers: len(peers), Deviations: []Deviation{}}
	mine := factsOf(target)
	values := map[string]map[string]int{} // by fact: how many peers have which value
	for _, p := range peers {
		for fact, value := range factsOf(p) {
			if values[fact] == nil {
				values[fact] = map[string]int{}
			}
			values[fact][value]++
		}
	}
	for _, fact := range sortedFacts(mine, values) {
		of := values[fact]
		absent := len(peers)
		for _, n := range of {
			absent -= n
		}
		usual, most := "", absent
		for _, value := range slices.Sorted(maps.Keys(of)) {
			if of[value] > most {
				usual, most = value, of[value]
			}
		}
		alike := of[mine[fact]]
		if _, has := mine[fact]; !has {
			alike = absent
		}
		switch {
		case mine[fact] == usual:
			c.Same++
		case 2*most > len(peers): // without a majority nothing is usual
			c.Deviations = append(c.Deviations, Deviation{Fact: fact, Value: mine[fact], Usual: usual, Peers: most, Alike: alike})
		}
	}
	slices.SortStableFunc(c.Deviations, func(a, b Deviation) int { return cmp.Compare(a.Alike, b.Alike) })
	return c
}

// factSections are the beginnings of the names of facts, in the order in which they are shown.
var factSections = []string{"spec", "label", "status", "condition", "attribute", "software", "hardware", "feature", "action"}

// sortedFacts returns the names of the facts of both, by section and name.
func sortedFacts[A, B any](a map[string]A, b map[string]B) []string {
	names := slices.Sorted(maps.Keys(a))
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if _, has := a[name]; !has {
			names = append(names, name)
		}
	}
	section := func(name string) int {
		word, _, _ := strings.Cut(name, " ")
		return slices.Index(factSections, word)
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(section(a), section(b)), cmp.Compare(a, b)) })
	return names
}

// factsOf returns what is known of a target and can be compared: no ids and no times.
func factsOf(c Compared) map[string]string {
	t, facts := c.Target, map[string]string{}
	add := func(name, value string) {
		if value != "" {
			facts[name] = value
		}
	}
	add("spec type", t.Spec.Type)
	add("spec autoConfirm", string(t.Spec.AutoConfirm))
	if t.Spec.Hold {
		add("spec hold", "true")
	}
	if a := t.Spec.Assignment; a != nil {
		add("spec assignment", a.Subject())
	}
	for key, value := range t.Labels {
		facts["label "+key] = value
	}
	add("status updateStatus", string(t.Status.UpdateStatus))
	if i := t.Status.Installed; i != nil {
		add("status installed", i.DistributionSet)
		add("status installed content", fleetcounts.ShortHash(i.ContentHash))
		add("status installed by", string(i.Source))
	}
	for key, value := range t.Status.Attributes {
		facts["attribute "+key] = string(value)
	}
	for _, condition := range t.Status.Conditions {
		value := string(condition.Status)
		if condition.Reason != "" && condition.Reason != condition.Type {
			value += " (" + condition.Reason + ")"
		}
		facts["condition "+condition.Type] = value
	}
	addSoftware(facts, c)
	addAction(facts, &t.Status)
	return facts
}

// addSoftware adds what the device has reported of its software.
func addSoftware(facts map[string]string, c Compared) {
	known := inventory.FactsOf(c.Target, c.Inventory)
	contents := known.Contents()
	for _, h := range contents.Installed {
		addEntry(facts, "software", h.Value())
	}
	for _, h := range contents.Context {
		addEntry(facts, "hardware", h.Value())
	}
	for _, f := range known.Features() {
		facts["feature "+f.ID] = cmp.Or(f.SoftwareModuleType, "no type reported")
	}
}

// addEntry adds one entry of an inventory. Several versions of the same software are one fact.
func addEntry(facts map[string]string, section string, e v1alpha1.InventorySoftware) {
	name := section + " "
	if e.Group != "" {
		name += e.Group + "/"
	}
	name += e.Name
	version := cmp.Or(e.Version, "no version")
	if facts[name] != "" {
		version = facts[name] + ", " + version
	}
	facts[name] = version
}

// addAction adds the newest action.
func addAction(facts map[string]string, s *v1alpha1.TargetStatus) {
	a := action.Newest(s)
	if a == nil {
		return
	}
	facts["action update"] = a.Subject()
	facts["action state"] = string(a.State)
	facts["action source"] = fmt.Sprintf("%s %s", a.Source.Kind, a.Source.Name)
	if a.Source.Group != "" {
		facts["action group"] = a.Source.Group
	}
	if a.State != v1alpha1.ActionError {
		return
	}
	if a.StatusCode != "" {
		facts["action statusCode"] = a.StatusCode
	}
	if message := cmp.Or(a.FailureGroup, a.FailureMessage); message != "" {
		facts["action failure"] = message
	}
}
