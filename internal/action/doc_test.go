// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the pages that are printed from the tables")

const page = "../../docs/states/action.md"

// TestActionPageMatchesTheTables prints the whole table. A changed cell changes the page.
func TestActionPageMatchesTheTables(t *testing.T) {
	want := printPage(t)
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("docs/states/action.md is stale; run `go test ./internal/action -update` and review the difference (-page +tables):\n%s", diff)
	}
}

var stateSentences = map[v1alpha1.ActionState]string{
	v1alpha1.ActionWaitingForConfirmation: "The update must be confirmed at the device first. The device has not started, so any cancel closes the action at once.",
	v1alpha1.ActionRetrieved:              "The device has fetched the deployment. From here on the action has started.",
	v1alpha1.ActionRunning:                "The device is working, at an unknown stage.",
	v1alpha1.ActionDownloading:            "Artifacts are being fetched.",
	v1alpha1.ActionDownloaded:             "All artifacts are on the device.",
	v1alpha1.ActionInstalling:             "The device is installing.",
	v1alpha1.ActionRemoving:               "Software is being removed.",
	v1alpha1.ActionCanceling:              "The device is asked to cancel; it may agree, refuse, or finish first. Its reports are still recorded.",
	v1alpha1.ActionFinished:               "Closed: the update succeeded.",
	v1alpha1.ActionError:                  "Closed: the update failed.",
	v1alpha1.ActionCanceled:               "Closed: the update was canceled, by the device, by force, or because its cancel was not answered in time.",
}

var eventSentences = map[Event]string{
	Retrieve:          "the device fetches the deployment",
	Start:             "the device has received the command",
	Confirm:           "the update is confirmed at the device",
	Deny:              "the update is denied at the device, or not confirmed yet",
	Proceed:           "the device is working, at an unknown stage",
	Download:          "the device fetches artifacts",
	Downloaded:        "the device has all artifacts",
	Install:           "the device is installing",
	EventInstalled:    "the device has installed the update; the result is still to come",
	Remove:            "the device removes software",
	Removed:           "the device has removed software; the result of that software if the action is a removal, else a step of the update",
	Warn:              "a message that is recorded and has no other effect",
	Succeed:           "the device's result: success",
	FinishWithWarning: "the device's result: success with a warning; it counts as Succeed or, with finishedWarning: Failure, as Fail",
	Fail:              "the device's result: failure",
	Abandon:           "the device's result: canceled, whether it was asked to cancel or not",
	CancelAccepted:    "the device answers a cancel: it has canceled",
	CancelRejected:    "the device answers a cancel: it continues",
	AskCancel:         "Goshawk asks the device to cancel",
	ForceCancel:       "Goshawk closes the action without waiting for the device",
	CancelExpired:     "the cancel was not answered within cancelDeadlineSeconds",
	ProgressExpired:   "there was no result within progressDeadlineSeconds",
	Refuse:            "the device cannot carry out the action and has not got it",
}

const preface = `# States of an action

<!-- Printed from the tables of internal/action by its tests: go test ./internal/action -update -->

An action is one update on one device, an entry of ` + "`Target.status.actions`" + `. It is created when the device first fetches the deployment, or is
asked to confirm it. It ends as Finished, Error or Canceled; no event changes one of these states.

`

const rules = `## Rules beyond the table

* After a refused cancel the action returns to its state before the cancel (` + "`cancel.from`" + `). The device is asked once for each cause of a cancel; only another
  cause, or force, asks again.
* A DownloadOnly action is Finished when the device reports Downloaded. That installs nothing. If an installation is reported later, it sets ` + "`installed`" + `, and the
  action stays Finished.
* A success counts also if the device reported nothing before it, with one exception: the deployment that the device fetched contained ` + "`update: skip`" + `
  (DownloadOnly), and neither a report nor a fetch of an artifact through the device API shows a download. Then the action is Error with code ` + "`Skipped`" + `.
* The cancel of an action that was closed by force is offered until the device answers it, reports a result, or starts a newer action.
* A late result of an action that Goshawk closed (by force, or at a deadline) is LateFinal: the state stays, but a success sets ` + "`installed`" + `, unless a newer
  action has succeeded since.
* If a device reports results module by module, the action is closed when all its modules have a result. An error takes precedence over a cancel, and a cancel
  over a success. The first result of a module is final; only a DownloadOnly module that is Downloaded can still fail.
* A removal (` + "`update.remove`" + `) has a result for each entry. ` + "`REMOVED`" + ` is the success of its entries, and a status of them that follows changes nothing. A result
  without a list of software counts for each entry without a result. ` + "`installed`" + ` stays as it is.
* FinishWithWarning is Succeed, or Fail if the action has ` + "`finishedWarning: Failure`" + `. The action has ` + "`warning: true`" + ` in both cases.
* After 1000 reports, further reports of progress are dropped. Results, answers to a cancel and the first report of installing are always recorded.
* All times are times of the server. The clock of a device is not used.

## Status of the target

| the action is | updateStatus |
|---|---|
| open | Pending |
| Finished | InSync; after a DownloadOnly action InSync if something is installed, else Registered |
| Error | Error |
| Canceled | as before the update: Error if the last update that was not canceled failed, else InSync if something is installed, else Registered |
| closed in any state, and the target is not consistent for another reason than UpdateCanceled | Error |

The target is not consistent (condition ` + "`Consistent`" + ` is False), until the next success, for these reasons:

| reason | cause |
|---|---|
| UpdateFailed | an update failed after installing may have started, and its modules do not declare ` + "`rollback: Supported`" + `; or a removal failed after removing may have started |
| CanceledWhileInstalling | the device accepted a cancel, or canceled by itself, after it had reported that it was installing or removing; no ` + "`rollback: Supported`" + ` |
| UpdateCanceled | the same after it had reported unspecified work (DDI: ` + "`proceeding`" + `), so that installing may have started; no ` + "`rollback: Supported`" + ` |
| RollbackFailed | the device reports ` + "`ROLLBACK_FAILED`" + `, or ` + "`INCONSISTENT`" + ` although its modules declare ` + "`rollback: Supported`" + ` |
| ReportedByDevice | the device reports it: status code ` + "`INCONSISTENT`" + `, a word that ends in ` + "`_INCONSISTENT`" + ` in a code, a message or the name of its installed set, or attribute ` + "`goshawk-agent.consistent: \"false\"`" + ` |
| ClosedWhileRunning | Goshawk closed an action that the device had started: by force, or at a deadline |

The success of a removal ends only an inconsistency that an earlier attempt of the same removal left: it does not show what else the device runs.

A device that sends the attribute ` + "`goshawk-agent.consistent`" + ` says itself whether it is consistent. The reasons UpdateFailed, CanceledWhileInstalling and UpdateCanceled do not occur: if its result does not say that it is inconsistent, it has rolled back. The report ` + "`\"true\"`" + ` also ends an inconsistency, for example after a repair at the device.

`

func printPage(t *testing.T) string {
	var out bytes.Buffer
	out.WriteString(preface)
	printDiagram(&out)
	printStates(t, &out)
	printMatrix(&out)
	printEvents(t, &out)
	out.WriteString(rules)
	printCancels(&out)
	printDDI(&out)
	printSoftwareUpdatable(t, &out)
	return wrap(out.String())
}

// wrap breaks the paragraphs and list items of a page at 100 columns, and leaves tables and code
// alone.
func wrap(page string) string {
	var out, paragraph []string
	flush := func() {
		width, indent := 0, ""
		for i, word := range paragraph {
			switch {
			case i == 0 && word == "*":
				indent = "  "
			case i > 0 && width+1+len(word) > 100:
				out = append(out, indent+word)
				width = len(indent) + len(word)
				continue
			}
			if i == 0 {
				out = append(out, "")
			} else {
				word = " " + word
			}
			out[len(out)-1] += word
			width += len(word)
		}
		paragraph = nil
	}
	code := false
	for line := range strings.SplitSeq(page, "\n") {
		fence := strings.HasPrefix(line, "```")
		if fence || code || line == "" || strings.ContainsAny(line[:1], "|#<") {
			flush()
			out = append(out, line)
			code = code != fence
			continue
		}
		if strings.HasPrefix(line, "* ") {
			flush()
		}
		paragraph = append(paragraph, strings.Fields(line)...)
	}
	flush()
	return strings.Join(out, "\n")
}

// printDiagram draws the states from Retrieved to Removing as one, since they share their row.
func printDiagram(out *bytes.Buffer) {
	out.WriteString("```mermaid\nstateDiagram-v2\n    [*] --> WaitingForConfirmation: created, to be confirmed\n    [*] --> Retrieved: created\n")
	var atWork []v1alpha1.ActionState
	out.WriteString("    state Working {\n")
	for _, s := range states {
		if sharesRow(s, v1alpha1.ActionRetrieved) {
			atWork = append(atWork, s)
			fmt.Fprintf(out, "        %s\n", s)
		}
	}
	out.WriteString("    }\n    note right of Working\n        in any order, as the device reports:\n")
	for _, e := range events {
		if next := table[v1alpha1.ActionRetrieved][e].to; slices.Contains(atWork, next) {
			fmt.Fprintf(out, "        %s leads to %s\n", e, next)
		}
	}
	out.WriteString("    end note\n")
	for _, s := range states {
		from := string(s)
		if slices.Contains(atWork, s) {
			from = "Working"
		}
		if s.IsClosed() {
			fmt.Fprintf(out, "    %s --> [*]\n", s)
			continue
		}
		if from == "Working" && s != atWork[0] {
			continue
		}
		for _, next := range states {
			if from == "Working" && slices.Contains(atWork, next) {
				continue
			}
			if causes := leading(s, next); len(causes) > 0 {
				fmt.Fprintf(out, "    %s --> %s: %s\n", from, next, strings.Join(causes, ", "))
			}
		}
	}
	out.WriteString("```\n\n")
}

func sharesRow(a, b v1alpha1.ActionState) bool {
	for _, e := range events {
		if table[a][e] != table[b][e] {
			return false
		}
	}
	return true
}

func leading(from, to v1alpha1.ActionState) []string {
	var causes []string
	for _, e := range events {
		if next, answer := Next(from, e); answer == Moved && next == to {
			causes = append(causes, string(e))
		}
	}
	return causes
}

func printStates(t *testing.T, out *bytes.Buffer) {
	out.WriteString("## States\n\n| state | |\n|---|---|\n")
	for _, s := range states {
		if stateSentences[s] == "" {
			t.Errorf("state %s has no text", s)
		}
		fmt.Fprintf(out, "| %s | %s |\n", s, stateSentences[s])
	}
}

func printMatrix(out *bytes.Buffer) {
	out.WriteString("\n## Every event in every state\n\nA cell has the next state. *kept*: the state stays, and the report is recorded. *late*: the report is at most counted. *refused*: nothing changes.\n\n| event |")
	for _, s := range states {
		fmt.Fprintf(out, " %s |", s)
	}
	out.WriteString("\n|---|" + strings.Repeat("---|", len(states)) + "\n")
	for _, e := range events {
		fmt.Fprintf(out, "| %s |", e)
		for _, s := range states {
			fmt.Fprintf(out, " %s |", cell(s, e))
		}
		out.WriteString("\n")
	}
}

func cell(s v1alpha1.ActionState, e Event) string {
	next, answer := Next(s, e)
	name := string(next)
	if answer != Moved {
		name = "*" + strings.ToLower(string(answer)) + "*"
	}
	switch {
	case s.IsClosed():
		return name
	case e == CancelRejected && answer == Moved:
		return "as before the cancel"
	case e == FinishWithWarning:
		return "Finished or Error"
	case e == Removed:
		return name + ", or Finished"
	}
	return name
}

func printEvents(t *testing.T, out *bytes.Buffer) {
	out.WriteString("\n| event | |\n|---|---|\n")
	for _, e := range events {
		if eventSentences[e] == "" {
			t.Errorf("event %s has no text", e)
		}
		fmt.Fprintf(out, "| %s | %s |\n", e, eventSentences[e])
	}
	out.WriteString("\n")
}

func printDDI(out *bytes.Buffer) {
	out.WriteString("## Events of DDI feedback\n\n| execution | result.finished | on deploymentBase | on cancelAction |\n|---|---|---|---|\n")
	for _, execution := range []string{"proceeding", "scheduled", "resumed", "download", "downloaded", "rejected", "canceled", "closed"} {
		results := []string{"success", "none", "failure"}
		if sameForAll(execution, results) {
			fmt.Fprintf(out, "| %s | any | %s | %s |\n", execution, FromDDI(execution, "none"), FromDDICancel(execution, "none"))
			continue
		}
		for _, finished := range results {
			fmt.Fprintf(out, "| %s | %s | %s | %s |\n", execution, finished, FromDDI(execution, finished), FromDDICancel(execution, finished))
		}
	}
}

// softwareUpdatableStatuses are the 18 statuses in the order of the model.
var softwareUpdatableStatuses = []string{
	"STARTED", "DOWNLOADING", "DOWNLOADING_WAITING", "DOWNLOADED", "INSTALLING", "INSTALLING_WAITING", "INSTALLED", "REMOVING", "REMOVING_WAITING",
	"REMOVED", "CANCELING", "CANCELING_WAITING", "CANCEL_REJECTED", "FINISHED_CANCELED", "FINISHED_SUCCESS", "FINISHED_WARNING", "FINISHED_ERROR",
	"FINISHED_REJECTED",
}

func printSoftwareUpdatable(t *testing.T, out *bytes.Buffer) {
	if len(softwareUpdatableStatuses) != len(softwareUpdatable) {
		t.Errorf("the table has %d statuses, want %d", len(softwareUpdatable), len(softwareUpdatableStatuses))
	}
	out.WriteString("\n## Events of SoftwareUpdatable\n\nThe statuses of `lastOperation` and `lastFailedOperation`. `DOWNLOADED_FILE_STORED` of Eclipse Kanto and every other status is Warn.\n\n" +
		"| status | event | Retrieved leads to | Canceling leads to |\n|---|---|---|---|\n")
	for _, status := range softwareUpdatableStatuses {
		e, known := FromSoftwareUpdatable(status)
		if !known {
			t.Errorf("status %s is not in the table", status)
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", status, e, cell(v1alpha1.ActionRetrieved, e), cell(v1alpha1.ActionCanceling, e))
	}
}

func sameForAll(execution string, results []string) bool {
	for _, finished := range results {
		if FromDDI(execution, finished) != FromDDI(execution, "none") || FromDDICancel(execution, finished) != FromDDICancel(execution, "none") {
			return false
		}
	}
	return true
}
