// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

func lines(details ...string) func(*Report) { return func(r *Report) { r.Details = details } }

// says applies an intermediate report with these lines.
func says(details ...string) testStep { return reports(Proceed, lines(details...)) }

// TestFailureMessage checks which message is stored for a failure. Real clients report the cause in
// an intermediate report, and close with a message that fits every failure.
func TestFailureMessage(t *testing.T) {
	rauc := says("LastError: Installation error: Compatible mismatch: Expected 'demo-board' but bundle manifest has 'other-board'")
	const raucCause = "LastError: Installation error: Compatible mismatch: Expected 'demo-board' but bundle manifest has 'other-board'"
	for name, tc := range map[string]struct {
		reports []testStep
		closing []string
		want    string
		group   string // as want if empty
	}{
		"RAUC: the error is in the report before": {
			[]testStep{says("Starting download"), says("0% Installing"), says("20% Checking bundle"), rauc}, []string{"Failed to install software bundle."}, raucCause, ""},
		"RAUC: failed progress lines come before the summary": {
			[]testStep{says("40% Verifying signature failed."), says("40% Checking bundle failed."), says("100% Installing failed."),
				says("LastError: signature verification failed: self-signed certificate")},
			[]string{"Failed to install software bundle."}, "LastError: signature verification failed: self-signed certificate", ""},
		"swupdate: the error is one of many log lines": {
			[]testStep{says("Installing Update Chunk Artifacts."),
				says("[TRACE] : SWUPDATE running : [network_initializer] : Main thread sleep again !",
					"[ERROR] : SWUPDATE failed [0] ERROR handlers/shell_scripthandler.c : execute_shell_script : 88 : modem firmware was rejected, exit 7",
					"[ERROR] : SWUPDATE failed [0] ERROR core/installer.c : run_prepost_scripts : 200 : preinstall script failed",
					"[ERROR] : SWUPDATE failed [1] Image invalid or corrupted. Not installing ...",
					"[TRACE] : SWUPDATE running : [cleanup] : Main loop", "a", "b", "c", "d", "e", "f")},
			[]string{"No suitable .swu image found"},
			"[ERROR] : SWUPDATE failed [0] ERROR handlers/shell_scripthandler.c : execute_shell_script : 88 : modem firmware was rejected, exit 7",
			"[ERROR] : SWUPDATE failed [<n>] ERROR handlers/shell_scripthandler.c : execute_shell_script : <n> : modem firmware was rejected, exit <n>"},
		"swupdate 2022.12, recorded": {
			[]testStep{says("Installing Update Chunk Artifacts."),
				says("[read_state] : Key  ustate  not found in Bootloader s environment.", "ERROR : Cannot read stored update state.", "[start_suricatta] : Server initialized, entering suricatta main loop."),
				says("[extract_files] :  size 47 required", "[run_system_cmd] : /tmp/swu3216102940/scripts/post.sh preinst  command returned 0",
					"[install_raw_file] : Creating path /tmp/TestSwupdateFails93334203/002/root/app.bin",
					"[run_system_cmd] : /tmp/swu3216102940/scripts/post.sh postinst  command returned 1", "ERROR : execute postinstall scripts failed", "Installation failed !",
					"[network_initializer] : Main thread sleep again !", "Waiting for requests...")},
			[]string{"No suitable .swu image found"}, "[run_system_cmd] : /tmp/swu3216102940/scripts/post.sh postinst command returned 1",
			"[run_system_cmd] : <path> postinst command returned <n>"},
		"swupdate: the lines come in two reports": {
			[]testStep{says("ERROR : hardware revision is incompatible: bolt 1.0"), says("ERROR : image corrupted", "done")},
			[]string{"No suitable .swu image found"}, "ERROR : hardware revision is incompatible: bolt 1.0", "ERROR : hardware revision is incompatible: bolt <n>"},
		"swupdate: a whole log in one detail": {
			[]testStep{says("Installing.\n[ERROR] : cannot find device /dev/mtd3\n[INFO ] : no errors in cleanup\n")},
			[]string{"No suitable .swu image found"}, "[ERROR] : cannot find device /dev/mtd3", "[ERROR] : cannot find device <path>"},
		"Kanto": {
			[]testStep{reports(Install, lines("half way"))}, []string{"fail to execute install script"}, "fail to execute install script", ""},
		"a client without earlier messages": {
			nil, []string{"Checksum mismatch: expected 1a2b3c4d, got 5e6f7a8b"}, "Checksum mismatch: expected 1a2b3c4d, got 5e6f7a8b", "Checksum mismatch: expected <hex>, got <hex>"},
		"a closing message without the word error": {
			[]testStep{says("downloading")}, []string{"disk full: 12 MB needed"}, "disk full: 12 MB needed", "disk full: <n> MB needed"},
		"a closing message that is more specific than an earlier error": {
			[]testStep{says("Error: connection lost, retry 1")}, []string{"Fatal: signature of partition rootfs.ext4 expired on 2026-01-01"},
			"Fatal: signature of partition rootfs.ext4 expired on 2026-01-01", "Fatal: signature of partition rootfs.ext<n> expired on <time>"},
		"the last of two errors": {
			[]testStep{says("download error: connection reset by peer"), says("downloading again"), says("post.sh: error: calibration data lost"), says("cleaning up")},
			[]string{"Update failed"}, "post.sh: error: calibration data lost", ""},
		"an error before the download counts if there is no other message": {
			[]testStep{reports(Start, lines("error: battery below 15%")), reports(Download)}, nil, "error: battery below 15%", "error: battery below <n>%"},
		"lines that report no error": {
			[]testStep{says("0 errors, 0 failed", "verification: no errors found")}, []string{"Update failed"}, "Update failed", ""},
		"only unspecific messages": {
			[]testStep{says("Installation failed")}, []string{"Failed to install software bundle."}, "Failed to install software bundle.", ""},
		"a result without a message": {
			[]testStep{says("installing"), says("installation error 17")}, nil, "installation error 17", "installation error <n>"},
		"no message at all":         {nil, nil, "", ""},
		"no message about an error": {[]testStep{says("40% done")}, nil, "", ""},
		"a secret in a URL": {
			[]testStep{says("Error: GET https://ada:s3cret@cdn.example.com/fw-1.swu?X-Sig=abc returned forbidden, Authorization: TargetToken 0123456789")}, []string{"failed"},
			"Error: GET https://cdn.example.com/fw-1.swu returned forbidden, Authorization: TargetToken <secret>",
			"Error: GET https://cdn.example.com/<path> returned forbidden, Authorization: TargetToken <secret>"},
		"control characters": {
			[]testStep{says("\x1b[31mError:\x1b[0m\u202e modem\x00 unreachable\xff")}, []string{"failed"}, "[31mError:[0m modem unreachable\uFFFD", "[<n>mError:[<time> modem unreachable\uFFFD"},
		"a line that is far too long": {
			[]testStep{says("error: modem " + strings.Repeat("unreachable ", 9000))}, []string{"failed"}, text.Clean("error: modem "+strings.Repeat("unreachable ", 9000), 256), ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTarget(then(then([]testStep{starts("one")}, tc.reports...), reports(Fail, lines(tc.closing...)))...)
			a := Newest(&l.s)
			if tc.group == "" {
				tc.group = tc.want
			}
			if a.FailureMessage != tc.want || a.FailureGroup != tc.group {
				t.Errorf("failure message and group are\n%s\n%s\nwant\n%s\n%s", a.FailureMessage, a.FailureGroup, tc.want, tc.group)
			}
			if len(tc.closing) > 0 && a.Message != tc.closing[0] {
				t.Errorf("the closing message is %q, want %q", a.Message, tc.closing[0])
			}
			if got := FailureOf(a); got != (Failure{Message: tc.group}) {
				t.Errorf("it is counted as %+v", got)
			}
		})
	}
}

func TestMessagesOfAnAction(t *testing.T) {
	l := newTarget(starts("one"), says("10% a"), says("20% a"), says("30% a", "b"), reports(Download), says("c", "", " \n "), says("d"), says("error: e", "f"))
	a := Newest(&l.s)
	if diff := cmp.Diff([]string{"b", "c", "d", "error: e", "f"}, a.Messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	reports(Warn, lines("g"))(l)
	for _, e := range []Event{Confirm, Deny, CancelAccepted} {
		reports(e, lines("error: about something else"))(l)
	}
	stopped(l)
	reports(CancelRejected, lines("error: cancel impossible, installation has started"))(l)
	if a := Newest(&l.s); len(a.Messages) != 5 || a.Messages[4] != "g" || a.FailureMessage != "" && a.FailureMessage != "error: e" {
		t.Errorf("messages are %q, failure message %q", a.Messages, a.FailureMessage)
	}
	l = newTarget(starts("one"), says("error: modem lost", "went on"), reports(Succeed, lines("done")))
	if a := Newest(&l.s); a.Messages != nil || a.FailureMessage != "" || a.FailureGroup != "" || a.Message != "done" {
		t.Errorf("after a success there are messages %q and the failure %q", a.Messages, a.FailureMessage)
	}
	l = newTarget(starts("one", within(60)), says("error: modem lost"), waits(time.Hour), expires)
	if a := Newest(&l.s); a.FailureMessage != "error: modem lost" || a.FailureGroup != "" || FailureOf(a).Code != v1alpha1.CodeProgressDeadlineExceeded {
		t.Errorf("after the deadline: %+v", a)
	}
}

// TestFailureIsCountedByCodeBeforeMessage checks that failures are counted by code, and that the
// message is kept for users.
func TestFailureIsCountedByCodeBeforeMessage(t *testing.T) {
	l := newTarget(starts("one"), says("error: modem lost"), reports(Fail, code("7"), saying("failed")))
	a := Newest(&l.s)
	if got := FailureOf(a); got != (Failure{Code: "7"}) || a.FailureMessage != "error: modem lost" || a.FailureGroup != "" {
		t.Errorf("counted as %+v; failure message %q, group %q", got, a.FailureMessage, a.FailureGroup)
	}
	if got, want := WhyFailed(a), " with code 7: error: modem lost"; got != want {
		t.Errorf("it failed%s, want %s", got, want)
	}
}

// TestDeviceNameIsNotPartOfTheFailure checks that messages that differ only in the controllerID of
// the device are counted as one failure.
func TestDeviceNameIsNotPartOfTheFailure(t *testing.T) {
	named := func(id string) testStep { return func(l *testTarget) { l.s.ControllerID = id } }
	groups := map[string]bool{}
	for _, id := range []string{"gw-north", "gw-south", "Ωmega"} {
		l := newTarget(named(id), starts("one"), reports(Fail, saying(id+": error: modem of "+id+" lost")))
		groups[Newest(&l.s).FailureGroup] = true
	}
	if len(groups) != 1 || !groups["<id>: error: modem of <id> lost"] {
		t.Errorf("groups are %v", groups)
	}
}

func TestMessagesAfterTheClose(t *testing.T) {
	// Closed by the device's own result: nothing is recorded.
	l := newTarget(starts("one"), reports(Proceed), reports(Fail, saying("failed to boot slot A")))
	before := *Newest(&l.s).DeepCopy()
	for _, e := range []Event{Proceed, Fail, Warn} {
		reports(e, saying("error: something quite different happened here"))(l)
	}
	if diff := cmp.Diff(before, *Newest(&l.s)); diff != "" {
		t.Errorf("reports after the result changed:\n%s", diff)
	}
	// Closed by Goshawk: the late messages of the device are recorded.
	l = newTarget(starts("one", within(60)), waits(time.Hour), expires, says("error: modem lost"), reports(Fail, saying("failed")))
	if a := Newest(&l.s); a.FailureMessage != "error: modem lost" || a.FailureGroup != "" || a.StatusCode != v1alpha1.CodeProgressDeadlineExceeded {
		t.Errorf("after a deadline: code %q, failure message %q, group %q", a.StatusCode, a.FailureMessage, a.FailureGroup)
	}
}

// TestMessageOfTheFailedModuleIsKept checks that reports of other modules do not replace the
// message.
func TestMessageOfTheFailedModuleIsKept(t *testing.T) {
	l := newTarget(starts("one"), reports(Install, about("os:1"), among(2), saying("error: modem lost")), reports(Fail, about("os:1"), among(2), saying("failed")),
		reports(Install, about("app:1"), among(2), saying("error: nothing to do with the modem, quite another thing")), reports(Succeed, about("app:1"), among(2), saying("done")))
	if a := Newest(&l.s); a.State != v1alpha1.ActionError || a.FailureMessage != "error: modem lost" || a.FailureGroup != "error: modem lost" {
		t.Errorf("state %s, failure message %q, group %q", a.State, a.FailureMessage, a.FailureGroup)
	}
}

// TestCondensedReports checks that a condensed report is small and has the same effect.
func TestCondensedReports(t *testing.T) {
	var details []string
	for i := range 48 {
		details = append(details, fmt.Sprintf("line %d of a log %s", i, strings.Repeat("€", 2048)))
	}
	details[7] = "error: modem lost"
	r := Report{ID: 1, Event: Proceed, Details: details, StatusCode: strings.Repeat("7", 5000), Stage: "proceeding"}
	small := Condense(r)
	if len(small.Details) != maxMessages+1 || small.Size() > 6*maxMessage*4 {
		t.Errorf("%d lines, %d bytes are kept", len(small.Details), small.Size())
	}
	if diff := cmp.Diff(small, Condense(small), cmp.AllowUnexported(Report{})); diff != "" {
		t.Errorf("condensed again:\n%s", diff)
	}
	var got []v1alpha1.TargetStatus
	for _, r := range []Report{r, small} {
		l := newTarget(starts("one"))
		r.Now = l.now
		Apply(&l.s, r)
		reports(Fail)(l)
		got = append(got, l.s)
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("a condensed report has another effect (-whole +condensed):\n%s", diff)
	}
	if a := Newest(&got[0]); a.FailureMessage != "error: modem lost" || utf8.RuneCountInString(a.Message) != maxMessage {
		t.Errorf("failure message %q, message of %d characters", a.FailureMessage, utf8.RuneCountInString(a.Message))
	}
	if !Condense(Report{Details: append([]string{"it is INCOMPLETE_INCONSISTENT."}, details...)}).inconsistent {
		t.Error("a dropped line reported that the device is inconsistent, and that was lost")
	}
}

func TestSelectedFailures(t *testing.T) {
	coded, said, mute := Failure{Code: "7"}, Failure{Message: "disk <n> is full"}, Failure{}
	for name, tc := range map[string]struct {
		named             Failures
		coded, said, mute bool
	}{
		"an empty selection selects all":       {Failures{}, true, true, true},
		"codes":                                {Failures{Codes: []string{"7"}}, true, false, false},
		"another code":                         {Failures{Codes: []string{"8"}}, false, false, false},
		"no code":                              {Failures{Codes: []string{""}}, false, true, true},
		"messages":                             {Failures{Messages: []string{"disk <n> is full"}}, false, true, false},
		"another message":                      {Failures{Messages: []string{"disk is full"}}, false, false, false},
		"codes or messages":                    {Failures{Codes: []string{"7"}, Messages: []string{"disk <n> is full"}}, true, true, false},
		"a code is not compared with messages": {Failures{Messages: []string{"7"}}, false, false, false},
		"a message is not compared with codes": {Failures{Codes: []string{"disk <n> is full"}}, false, false, false},
		"the message before its normalization": {Failures{Messages: []string{"disk 3 is full"}}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if a, b, c := tc.named.Name(coded), tc.named.Name(said), tc.named.Name(mute); a != tc.coded || b != tc.said || c != tc.mute {
				t.Errorf("names the code %t, the message %t, neither %t; want %t, %t, %t", a, b, c, tc.coded, tc.said, tc.mute)
			}
		})
	}
}
