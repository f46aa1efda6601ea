// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// A line of the log quotes an id that a client without credentials has sent.
func TestLogLinesHaveNoInvisibleCharacters(t *testing.T) {
	for _, isDevelopment := range []bool{false, true} {
		var out bytes.Buffer
		log := zap.New(zap.UseDevMode(isDevelopment), zap.WriteTo(Visible(&out)))
		log.Info("Refused \x1b[2J\u009b2J a device", "controllerID", "gw\u202e-1\u009b31m\x7f\u200b\u3164\x1b[0m", "name", "更新 👩\u200d🔧")
		log.Error(errors.New("not \u202e valid"), "failed")
		if line := out.String(); strings.ContainsAny(line, "\x1b\u009b\u202e\x7f\u200b\u3164") {
			t.Errorf("%q has invisible characters", line)
		} else if !strings.Contains(line, "gw-1") || !strings.Contains(line, "更新 👩\u200d🔧") || strings.Count(line, "\n") < 2 {
			t.Errorf("%q lacks what can be seen", line)
		}
	}
}
