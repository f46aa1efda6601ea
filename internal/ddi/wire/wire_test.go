// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const root = "https://devices.example/acme/controller/v1/dev1"

func exampleDeployment() Deployment {
	file := root + "/softwaremodules/9/artifacts/bundle.raucb"
	return Deployment{
		Download: HandlingForced, Update: HandlingForced,
		Chunks: List[Chunk]{{
			Part: PartOf("os"), Version: "1.2", Name: "rootfs",
			Artifacts: List[Artifact]{{
				Filename: "bundle.raucb", Size: 734003200,
				Hashes: Hashes{SHA1: "a1", MD5: "b2", SHA256: "c3"},
				Links: ArtifactLinks{
					Download: Link{file}, DownloadHTTP: Link{file},
					MD5Sum: Link{file + ".MD5SUM"}, MD5SumHTTP: Link{file + ".MD5SUM"},
				},
			}},
			Metadata: []Metadata{{Key: "k", Value: "v"}},
		}},
	}
}

// TestDocuments compares the bytes of every document of the device API and of devices, so that a
// renamed or reordered field is noticed.
func TestDocuments(t *testing.T) {
	windowed := exampleDeployment()
	windowed.Update, windowed.MaintenanceWindow = HandlingSkip, WindowUnavailable
	tests := map[string]any{
		"base-idle": Base{Config: Config{Polling{Sleep(5 * time.Minute)}}},
		"base-deployment": Base{
			Config: Config{Polling{Sleep(5 * time.Minute)}},
			Links: BaseLinks{
				DeploymentBase: Link{root + "/deploymentBase/31?c=-217&actionHistory=2"},
				InstalledBase:  Link{root + "/installedBase/17"},
				ConfigData:     Link{root + "/configData"},
			},
		},
		"base-cancel": Base{
			Config: Config{Polling{Sleep(time.Minute)}},
			Links:  BaseLinks{CancelAction: Link{root + "/cancelAction/31"}},
		},
		"base-confirmation": Base{
			Config: Config{Polling{Sleep(time.Minute)}},
			Links:  BaseLinks{ConfirmationBase: Link{root + "/confirmationBase/31"}},
		},
		"deployment-base": DeploymentBase{
			ID: "31", Deployment: exampleDeployment(),
			ActionHistory: &ActionHistory{Status: "RETRIEVED", Messages: List[string]{"Loading <1 of 2> & more"}},
		},
		"deployment-base-window-closed":    DeploymentBase{ID: "31", Deployment: windowed},
		"deployment-base-without-software": DeploymentBase{ID: "31", Deployment: Deployment{Download: HandlingAttempt, Update: HandlingAttempt}},
		"deployment-base-without-artifacts": DeploymentBase{ID: "31", Deployment: Deployment{
			Download: HandlingForced, Update: HandlingSkip,
			Chunks: List[Chunk]{{Part: PartOf("application"), Version: "3", Name: "settings", Encrypted: true}},
		}, ActionHistory: &ActionHistory{Status: "RUNNING"}},
		"confirmation-action":  ConfirmationAction{ID: "31", Confirmation: exampleDeployment()},
		"artifacts":            exampleDeployment().Chunks[0].Artifacts,
		"cancel-action":        NewCancelAction("31"),
		"feedback-proceeding":  exampleFeedback(),
		"feedback-closed":      Feedback{Status: Status{Execution: ExecutionClosed, Result: Result{Finished: FinishedFailure}, Code: "INCONSISTENT"}},
		"config-data":          NewConfigData(ModeReplace, map[string]string{"VIN": "JH4TB2H26CC000000", "hw": "B"}),
		"config-data-removing": ConfigData{Data: map[string]*string{"hw": nil}},
		"installed-set":        InstalledSet{Name: "firmware", Version: "2.1"},
		"confirmation-base": ConfirmationBase{Links: ConfirmationLinks{
			ActivateAutoConfirm: Link{root + "/confirmationBase/activateAutoConfirm"},
			ConfirmationBase:    Link{root + "/confirmationBase/31"},
		}},
		"confirmation-base-automatic": ConfirmationBase{
			AutoConfirm: AutoConfirm{Active: true, Initiator: "alice", Remark: "lab", ActivatedAt: 1700000000000},
			Links:       ConfirmationLinks{DeactivateAutoConfirm: Link{root + "/confirmationBase/deactivateAutoConfirm"}},
		},
		"confirmation-feedback": ConfirmationFeedback{Confirmation: Denied, Code: "7", Details: Details{"not today"}},
		"activate-auto-confirm": ActivateAutoConfirm{Initiator: "alice", Remark: "lab"},
		"error": Error{
			ErrorCode: "goshawk.ddi.badRequest", Message: "status.execution is missing",
			Info: map[string]any{"field": "status.execution"},
		},
	}
	for name, document := range tests {
		t.Run(name, func(t *testing.T) {
			compact, err := Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", compact)
		})
	}
}

// TestBaseIsAppendedAsMarshalEncodesIt compares the two encoders for every combination of links.
func TestBaseIsAppendedAsMarshalEncodesIt(t *testing.T) {
	for name, href := range map[string]string{
		"plain":                 root + "/deploymentBase/31?c=0a1b2c3da",
		"with HTML characters":  root + "?a=1&b=<>",
		"with a quotation mark": `https://devices.example/"quoted"\`,
		"with a line break":     "https://devices.example/\n\x00\x7f",
		"with other letters":    "https://gerät.example/\u2028😀",
		"with invalid UTF-8":    "https://devices.example/\xff",
	} {
		for links := range 1 << 5 {
			link := func(bit int) Link {
				if links>>bit&1 == 0 {
					return Link{}
				}
				return Link{Href: fmt.Sprint(href, bit)}
			}
			base := Base{Config: Config{Polling{Sleep(time.Duration(links) * 1000 * time.Second)}}, Links: BaseLinks{
				DeploymentBase: link(0), CancelAction: link(1), ConfirmationBase: link(2), InstalledBase: link(3), ConfigData: link(4)}}
			want, err := Marshal(base)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("before"+string(want), string(base.AppendJSON([]byte("before")))); diff != "" {
				t.Errorf("links %s, %05b (-Marshal +AppendJSON):\n%s", name, links, diff)
			}
		}
	}
}

func exampleFeedback() Feedback {
	return Feedback{
		Timestamp: "1700000000000",
		Status: Status{
			Execution: ExecutionProceeding,
			Result:    Result{Finished: FinishedNone, Progress: &Progress{Count: 2, Of: 5}},
			Code:      "200",
			Details:   Details{"writing slot B"},
		},
	}
}

func golden(t *testing.T, name string, compact []byte) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, compact, "", "  "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Errorf("%s (-golden +got):\n%s", name, diff)
	}
}

// A document that is written and read again does not change.
func TestDocumentsAreReadAsTheyAreWritten(t *testing.T) {
	base := Base{Config: Config{Polling{Sleep(90 * time.Second)}}, Links: BaseLinks{CancelAction: Link{root + "/cancelAction/31"}}}
	deployment := DeploymentBase{ID: "31", Deployment: exampleDeployment()}
	roundTrip(t, base)
	roundTrip(t, deployment)
	roundTrip(t, NewCancelAction("31"))
	roundTrip(t, exampleFeedback())
}

func roundTrip[T any](t *testing.T, want T) {
	t.Helper()
	body, err := Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got T
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the round trip (-want +got):\n%s", diff)
	}
}

func TestSleep(t *testing.T) {
	tests := map[string]struct {
		sleep time.Duration
		want  string
	}{
		"five minutes":                       {5 * time.Minute, "00:05:00"},
		"hours, minutes and seconds":         {12*time.Hour + 34*time.Minute + 56*time.Second, "12:34:56"},
		"a part of a second is rounded up":   {1500 * time.Millisecond, "00:00:02"},
		"zero":                               {0, "00:00:01"},
		"a negative interval":                {-time.Hour, "00:00:01"},
		"the longest":                        {24*time.Hour - time.Second, "23:59:59"},
		"rounding up does not reach the day": {24*time.Hour - time.Millisecond, "23:59:59"},
		"a day":                              {24 * time.Hour, "23:59:59"},
		"a month":                            {720 * time.Hour, "23:59:59"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Sleep(tc.sleep).String(); got != tc.want {
				t.Errorf("Sleep(%s) = %s, want %s", tc.sleep, got, tc.want)
			}
		})
	}
}

func TestSleepIsReadStrictly(t *testing.T) {
	for _, text := range []string{"", "PT5M", "5:00", "00:05:00:00", "24:00:00", "00:60:00", "0:5:0", "00:-1:00", "ab:cd:ef"} {
		var s Sleep
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %s, want an error", text, s)
		}
	}
}

func TestRootPathEscapesIds(t *testing.T) {
	if got, want := RootPath("acme", "ABC:12/3 4"), "/acme/controller/v1/ABC:12%2F3%204"; got != want {
		t.Errorf("RootPath = %s, want %s", got, want)
	}
}

func TestPreferredLink(t *testing.T) {
	tests := map[string]struct {
		links ArtifactLinks
		want  string
	}{
		"download before download-http": {ArtifactLinks{Download: Link{"a"}, DownloadHTTP: Link{"b"}}, "a"},
		"download-http alone":           {ArtifactLinks{DownloadHTTP: Link{"b"}}, "b"},
		"none":                          {ArtifactLinks{}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.links.Preferred(); got != tc.want {
				t.Errorf("Preferred() = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestModuleTypesKeepTheirLegacyPartNames(t *testing.T) {
	want := map[string]string{"application": "bApp", "runtime": "jvm", "os": "os", "firmware": "firmware"}
	for moduleType, part := range want {
		if got := PartOf(moduleType); got != part {
			t.Errorf("PartOf(%q) = %q, want %q", moduleType, got, part)
		}
	}
}

func TestMD5SumLine(t *testing.T) {
	if got, want := MD5SumLine("D41D8CD98F00B204E9800998ECF8427E", "a b.swu"), "d41d8cd98f00b204e9800998ecf8427e  a b.swu"; got != want {
		t.Errorf("MD5SumLine = %q, want %q", got, want)
	}
}
