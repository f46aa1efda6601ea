// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// Words returns the condition as one line.
func (n *Notice) Words() string {
	if n.Reason == n.Type {
		return n.Type + ": " + n.Message
	}
	return fmt.Sprintf("%s, %s: %s", n.Type, n.Reason, n.Message)
}

// Words says in a few words what the device gets.
func (n *Offered) Words() string {
	switch n.Kind {
	case offer.Deploy:
		return fmt.Sprintf("deploy %s as action %d", n.Update, n.ActionID)
	case offer.Confirm:
		return fmt.Sprintf("confirm %s as action %d", n.Update, n.ActionID)
	case offer.Cancel:
		return fmt.Sprintf("cancel action %d (%s)", n.ActionID, n.Update)
	default:
		return "nothing"
	}
}

// Words returns the kind of the source with its name.
func (s *Source) Words() string {
	switch s.Kind {
	case v1alpha1.SourceRollout:
		if s.Group != "" {
			return fmt.Sprintf("rollout %s (group %s)", s.Name, s.Group)
		}
		return "rollout " + s.Name
	case v1alpha1.SourceAutoAssignment:
		return "auto-assignment " + s.Name
	default:
		return "spec.assignment"
	}
}

// Words says which field has which effect.
func (c *Change) Words() string {
	field := c.Field
	if c.Value != "" {
		field += ": " + c.Value
	}
	return fmt.Sprintf("%s of %s %s %s", field, c.Kind, c.Name, c.Effect)
}

// ReasonWords returns a message with its code, and until when it holds.
func ReasonWords(code, message string, until *metav1.Time) string {
	words := message
	if code != "" {
		words = code + ": " + message
	}
	if until != nil && !strings.Contains(message, stamp(until.Time)) {
		words += " (until " + until.UTC().Format("2006-01-02 15:04:05Z") + ")"
	}
	return words
}

// Notes returns what needs attention on a target, or "" if nothing does.
func (s *TargetState) Notes() string {
	var parts []string
	if s.WaitsFor != "" {
		parts = append(parts, s.WaitsFor)
	}
	if s.Held && s.WaitsFor != "on hold" {
		parts = append(parts, "on hold")
	}
	if a := s.Action; a != nil && (a.State == v1alpha1.ActionError || a.State == v1alpha1.ActionCanceled) {
		why := []string{}
		if a.StatusCode != "" {
			why = append(why, "code "+a.StatusCode)
		}
		if a.Message != "" {
			why = append(why, strconv.Quote(a.Message))
		}
		if a.Attempt > 1 {
			why = append(why, fmt.Sprintf("attempt %d", a.Attempt))
		}
		if len(why) > 0 {
			parts = append(parts, strings.Join(why, ", "))
		}
	}
	for _, c := range s.Conditions {
		switch c.Type {
		case v1alpha1.ConditionConsistent:
			if s.Inconsistent {
				parts = append(parts, "inconsistent ("+c.Reason+")")
			}
		case v1alpha1.ConditionOnline:
			if s.Silent {
				parts = append(parts, strings.ToLower(c.Reason))
			}
		default:
			parts = append(parts, c.Message)
		}
	}
	if s.InstalledBy == v1alpha1.InstalledByReport {
		parts = append(parts, "set reported by the device")
	}
	return strings.Join(parts, "; ")
}
