// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import "testing"

func TestLooksLikeError(t *testing.T) {
	for s, want := range map[string]bool{
		"LastError: Installation error: Compatible mismatch": true,
		"Failed to install software bundle.":                 true,
		"No suitable .swu image found":                       false, // says little: see SpecificWords
		"fail to execute install script":                     true,
		"FATAL exception in main":                            true,
		"Verifying signature failed.":                        true,
		"connection timed out":                               true,
		"cannot open file":                                   true,
		"Fehler beim Schreiben":                              true,
		"post.sh postinst command returned 1":                true,
		"child exited with status -11":                       true,
		"post.sh postinst command returned 0":                false,
		"exit status 0":                                      false,
		"creating path /tmp/TestSwupdateFails/errors.log":    false,
		"POST https://cdn.example.com/failures/7 -> 200":     false,
		"core/installer.c: error in /tmp/x":                  true,
		"error:/dev/mmcblk0 is busy":                         true,
		"returned 10 MB of 20":                               true, // nothing is perfect
		"Installing Update Chunk Artifacts.":                 false,
		"All Chunks Installed.":                              false,
		"done, no errors":                                    false,
		"0 errors, 0 failed":                                 false,
		"errors: 0":                                          false,
		"error code 0":                                       false,
		"finished without any errors":                        false,
		"0 errors, but the checksum failed":                  true,
		"":                                                   false,
	} {
		if got := LooksLikeError(s); got != want {
			t.Errorf("%q: got %t, want %t", s, got, want)
		}
	}
}

// Messages that end every failed update of a client do not describe the cause.
func TestGenericTextsHaveScoreZero(t *testing.T) {
	for _, s := range []string{
		"Failed to install software bundle.", "No suitable .swu image found", "Image invalid or corrupted. Not installing ...", "Update failed", "Update Failed.",
		"Installation failed with error code 7", "Error: installation aborted.", "failure", "unknown error", "An error occurred during the update, see the logs.",
		"SWUPDATE failed [0] ERROR", "Software update process failed: internal error (17)", "",
	} {
		if n := Specificity(s); n != 0 {
			t.Errorf("%q has score %d, want 0", s, n)
		}
	}
}

func TestSpecificTextsHaveHigherScore(t *testing.T) {
	for _, tc := range []struct{ more, less string }{
		{"LastError: signature verification failed: self-signed certificate", "Verifying signature failed."},
		{"LastError: Compatible mismatch", "Checking bundle failed, and this line has quite many other words indeed: modem firmware rejected"},
		{"Script post.sh: modem firmware rejected, exit 7", "Update of rootfs failed"},
		{"no space left on data partition", "Failed to install software bundle."},
	} {
		if Specificity(tc.more) <= Specificity(tc.less) {
			t.Errorf("%q has score %d, %q has %d; want a higher score for the first", tc.more, Specificity(tc.more), tc.less, Specificity(tc.less))
		}
	}
}
