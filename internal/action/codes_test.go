// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func TestDeviceCannotSendReservedCodes(t *testing.T) {
	for _, own := range reservedCodes {
		for name, sent := range map[string]string{
			"as it is":                      own,
			"in lower case":                 strings.ToLower(own),
			"with blanks around it":         " " + own + "\n",
			"with an invisible character":   own[:3] + "\u200b" + own[3:],
			"with a control character":      "\x00" + own,
			"with a joiner":                 own[:3] + "\u200d" + own[3:],
			"with a selector of emoji":      own + "\ufe0f",
			"with the prefix of its own":    devicePrefix + own,
			"with the prefix and a control": devicePrefix + "\x1b" + own,
		} {
			t.Run(own+" "+name, func(t *testing.T) {
				for _, e := range []Event{Proceed, Fail, CancelRejected} {
					l := newTarget(starts("one"), reports(Download), stopped, reports(e, code(sent)))
					a := Newest(&l.s)
					if !strings.HasPrefix(a.StatusCode, devicePrefix) || len(a.StatusCode) != len(devicePrefix)+len(own) {
						t.Errorf("after %s statusCode is %q, want %s%s", e, a.StatusCode, devicePrefix, own)
					}
					for _, line := range a.History {
						if slices.Contains(reservedCodes, line.StatusCode) {
							t.Errorf("after %s the history says %q", e, line.StatusCode)
						}
					}
				}
			})
		}
	}
}

// TestResultWithDeadlineCodeIsFinal: the code of an exceeded deadline, sent by a device, does not
// mean that Goshawk closed the action. The failure is final, and a later success of the action is
// late.
func TestResultWithDeadlineCodeIsFinal(t *testing.T) {
	l := newTarget(starts("one"), reports(Proceed), reports(Fail, code(v1alpha1.CodeProgressDeadlineExceeded)), reports(Succeed))
	if l.outcome != Late || l.s.Installed != nil {
		t.Errorf("outcome %s, installed %+v; want Late and nothing installed", l.outcome, l.s.Installed)
	}
}

func TestOtherCodesAreKept(t *testing.T) {
	for sent, want := range map[string]string{
		"110": "110", "INCONSISTENT": "INCONSISTENT", "ROLLBACK_FAILED": "ROLLBACK_FAILED", "SkippedModule": "SkippedModule", "": "",
		" 7\t8 \x07": "7 8", "می\u200cخواهم": "می\u200cخواهم",
	} {
		if got := deviceCode(sent); got != want {
			t.Errorf("%q is stored as %q, want %q", sent, got, want)
		}
	}
}

// TestEveryCodeOfGoshawkIsReserved reads the constants. A code that is added to the API but not to
// the table fails here.
func TestEveryCodeOfGoshawkIsReserved(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/target_types.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ofDevices := []string{v1alpha1.CodeInconsistent}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		found++
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(ofDevices, value) == slices.Contains(reservedCodes, value) {
			t.Errorf("%s must be either reserved or a code of devices", spec.Names[0].Name)
		}
		return true
	})
	if found < len(reservedCodes)+len(ofDevices) {
		t.Errorf("found %d codes, want at least %d", found, len(reservedCodes)+len(ofDevices))
	}
}
