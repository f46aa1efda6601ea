// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// maxPattern is the maximum number of steps of a pattern when its repetitions are written out: the
// time for one controllerID grows with it.
const maxPattern = 2000

func (a *Access) readRegistration(namespace string, r *v1alpha1.Registration) {
	made := &registration{kind: r.Type, labels: make(map[string]string, len(r.Labels))}
	for key, value := range r.Labels {
		made.labels[key] = string(value)
	}
	if r.ControllerIDPattern != "" {
		var problem string
		if made.pattern, problem = compilePattern(r.ControllerIDPattern); problem != "" {
			a.fault(v1alpha1.ReasonInvalidSpec, "spec.registration.controllerIDPattern %s; no device is registered until it is corrected", problem)
			return
		}
	}
	if !a.selector.Matches(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Labels: made.labels}}) {
		a.fault(v1alpha1.ReasonInvalidSpec, "spec.registration.labels do not match spec.targetSelector, so a registered device could not be served: add the labels that the selector needs; no device is registered until then")
		return
	}
	a.MaxTargets = int(r.MaxTargets)
	if a.MaxTargets == 0 {
		a.MaxTargets = v1alpha1.DefaultMaxTargets
	}
	a.registration = made
}

// compilePattern compiles a pattern that must match a whole controllerID. The problem is the rest
// of a sentence about the pattern.
func compilePattern(pattern string) (_ *regexp.Regexp, problem string) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Sprintf("is not a regular expression in RE2 syntax: %v", err)
	}
	if sizeOf(parsed) > maxPattern {
		return nil, fmt.Sprintf("has more than %d characters and classes when its repetitions are written out: use smaller repetitions, or *", maxPattern)
	}
	compiled, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Sprintf("is not a regular expression in RE2 syntax: %v", err)
	}
	return compiled, ""
}

// sizeOf returns the number of steps of an expression when its repetitions are written out, or
// more than maxPattern.
func sizeOf(e *syntax.Regexp) int {
	size := max(1, len(e.Rune))
	if e.Op == syntax.OpCharClass {
		size = 1
	}
	for _, sub := range e.Sub {
		if size += sizeOf(sub); size > maxPattern {
			return maxPattern + 1
		}
	}
	if e.Op == syntax.OpRepeat {
		size *= max(1, e.Min, e.Max)
	}
	return min(size, maxPattern+1)
}

// isFor reports whether a device with this controllerID may be registered. The schema of Target
// allows no slash, which a path can contain escaped.
func (r *registration) isFor(controllerID string) bool {
	return !strings.Contains(controllerID, "/") && (r.pattern == nil || r.pattern.MatchString(controllerID))
}

// NewTarget returns the Target of a device that this DeviceAccess registers.
func (a *Access) NewTarget(namespace, controllerID string) *v1alpha1.Target {
	t := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: TargetName(controllerID), Annotations: map[string]string{v1alpha1.DeviceAccessAnnotation: a.Name},
	}}
	if r := a.registration; r != nil {
		t.Spec.Type = r.kind
		if len(r.labels) > 0 {
			t.Labels = make(map[string]string, len(r.labels))
			for key, value := range r.labels {
				t.Labels[key] = value
			}
		}
	}
	if t.Name != controllerID {
		t.Spec.ControllerID = controllerID
	}
	return t
}

// TargetName returns the name of the Target of a new device: its controllerID if that is a valid
// name, else OtherName.
func TargetName(controllerID string) string {
	if len(validation.IsDNS1123Subdomain(controllerID)) == 0 {
		return controllerID
	}
	return OtherName(controllerID)
}

// OtherName returns the readable part of a controllerID and a hash of it. It is a valid name, and
// different for different controllerIDs.
func OtherName(controllerID string) string {
	const readable, digits = 40, 16
	var name strings.Builder
	for _, r := range strings.ToLower(controllerID) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			name.WriteRune(r)
		case name.Len() > 0 && !strings.HasSuffix(name.String(), "-"):
			name.WriteByte('-')
		}
		if name.Len() == readable {
			break
		}
	}
	sum := sha256.Sum256([]byte(controllerID))
	hash := hex.EncodeToString(sum[:])[:digits]
	if prefix := strings.Trim(name.String(), "-"); prefix != "" {
		return prefix + "-" + hash
	}
	return "device-" + hash
}
