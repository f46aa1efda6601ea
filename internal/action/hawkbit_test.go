// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// In hawkBit a late refusal of a cancel set the status of a closed action to RUNNING, and its group
// could never complete.
func TestW09_LateCancelAnswerReopensNothing(t *testing.T) {
	for _, e := range []Event{CancelRejected, CancelAccepted} {
		t.Run(string(e), func(t *testing.T) {
			l := newTarget(starts("one"), reports(Install), forced)
			if PendingCancel(&l.s) == nil {
				t.Fatal("the cancel of a forced close is not offered")
			}
			reports(e)(l)
			a := Newest(&l.s)
			if a.State != v1alpha1.ActionCanceled || l.outcome != Applied || a.Cancel.Answer == "" {
				t.Errorf("got state %s, outcome %s, answer %q; want Canceled, Applied and an answer", a.State, l.outcome, a.Cancel.Answer)
			}
			if PendingCancel(&l.s) != nil {
				t.Error("the cancel is still offered after its answer")
			}
			before := l.s.DeepCopy()
			reports(CancelRejected)(l)
			if diff := cmp.Diff(before, &l.s); diff != "" || l.outcome != Late {
				t.Errorf("a second answer: outcome %s, changes:\n%s", l.outcome, diff)
			}
		})
	}
}

// In hawkBit a target was IN_SYNC after a cancel in the middle of an installation, even when
// nothing had ever been installed.
func TestW13_NeverInSyncWithoutKnowing(t *testing.T) {
	cases := map[string]struct {
		steps []testStep
		want  v1alpha1.UpdateStatus
	}{
		"canceled before installing, nothing installed": {
			[]testStep{starts("one"), reports(Download), stopped, reports(CancelAccepted)}, v1alpha1.UpdateStatusRegistered,
		},
		"canceled before installing, something installed": {
			then(then([]testStep{starts("one")}, installed...), starts("two"), reports(Download), stopped, reports(CancelAccepted)), v1alpha1.UpdateStatusInSync,
		},
		"canceled while installing": {
			then(then([]testStep{starts("one")}, installed...), starts("two"), reports(Install), stopped, reports(CancelAccepted)), v1alpha1.UpdateStatusError,
		},
		"canceled while installing, rolled back": {
			then(then([]testStep{starts("one")}, installed...), starts("two", canRollBack), reports(Install), stopped, reports(CancelAccepted)), v1alpha1.UpdateStatusInSync,
		},
		"canceled by force": {
			then(then([]testStep{starts("one")}, installed...), starts("two"), forced), v1alpha1.UpdateStatusError,
		},
		"canceled later, while still inconsistent": {
			then(then([]testStep{starts("one")}, installed...), starts("two"), forced, starts("three"), reports(Download), stopped, reports(CancelAccepted)), v1alpha1.UpdateStatusError,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := newTarget(tc.steps...).s.UpdateStatus; got != tc.want {
				t.Errorf("updateStatus is %s, want %s", got, tc.want)
			}
		})
	}
}

// In hawkBit a device could not report the installation that followed a download-only update, or
// the success of the update was taken back.
func TestW21_InstallationAfterDownloadOnly(t *testing.T) {
	l := newTarget(starts("one", downloadsOnly), reports(Download), reports(Downloaded), reports(Install), reports(Succeed))
	want := facts{State: v1alpha1.ActionFinished, Status: v1alpha1.UpdateStatusInSync, Installed: "one", Outcome: LateFinal}
	if diff := cmp.Diff(want, l.facts()); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if !Installed(&l.s, hash("one")) {
		t.Error("the set is not installed")
	}
}

func TestW21_AwaitsInstallation(t *testing.T) {
	downloaded := []testStep{starts("one", downloadsOnly), reports(Download), reports(Downloaded)}
	cases := map[string]struct {
		steps []testStep
		want  bool
	}{
		"before the download":                 {[]testStep{starts("one", downloadsOnly), reports(Download)}, false},
		"downloaded":                          {downloaded, true},
		"downloaded, reported again":          {then(downloaded, reports(Downloaded)), true},
		"being installed":                     {then(downloaded, reports(Install)), true},
		"installed":                           {then(downloaded, reports(Install), reports(Succeed)), false},
		"failed to install":                   {then(downloaded, reports(Install), reports(Fail)), false},
		"a newer action has started":          {then(downloaded, starts("two")), true},
		"a newer action has succeeded":        {then(downloaded, starts("two"), reports(Proceed), reports(Succeed)), false},
		"nothing was downloaded":              {[]testStep{starts("one", downloadsOnly), reports(Succeed)}, false},
		"an update that is not download-only": {then([]testStep{starts("one")}, installed...), false},
		"the download failed":                 {[]testStep{starts("one", downloadsOnly), reports(Download), reports(Fail)}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := newTarget(tc.steps...)
			if got := AwaitsInstallation(&l.s, 1); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
}

// In hawkBit a device with a slow clock reported success, and the target stayed PENDING.
func TestW26_ServerTimeDecides(t *testing.T) {
	l := newTarget(starts("one"), reports(Proceed), reports(Succeed), starts("two"), reports(Proceed))
	l.now = noon.Add(-24 * time.Hour) // a wrong clock does not change a result
	reports(Succeed)(l)
	if l.s.UpdateStatus != v1alpha1.UpdateStatusInSync || !Installed(&l.s, hash("two")) {
		t.Errorf("updateStatus is %s, installed %+v", l.s.UpdateStatus, l.s.Installed)
	}
	want := metav1.NewTime(l.now)
	if got := l.s.Installed.Since; !got.Equal(&want) {
		t.Errorf("installed since %s, want the server's time of the report, %s", got, want)
	}
}

// In hawkBit fetching the deployment of a closed action set its status to RETRIEVED, and its group
// could never complete.
func TestW27_FetchingAClosedActionChangesNothing(t *testing.T) {
	for name, last := range map[string]testStep{"Finished": reports(Succeed), "Error": reports(Fail), "Canceled": forced} {
		t.Run(name, func(t *testing.T) {
			l := newTarget(starts("one"), reports(Proceed), last)
			before := l.s.DeepCopy()
			reports(Retrieve)(l)
			if diff := cmp.Diff(before, &l.s); diff != "" || l.outcome != Late {
				t.Errorf("outcome %s, changes:\n%s", l.outcome, diff)
			}
		})
	}
}
