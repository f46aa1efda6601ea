// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Base is the response to a poll (resource 1): the time until the next poll, and links.
type Base struct {
	Config Config    `json:"config"`
	Links  BaseLinks `json:"_links,omitzero"`
}

// Config is the configuration of a device until its next poll.
type Config struct {
	Polling Polling `json:"polling"`
}

// Polling is the time until the next poll.
type Polling struct {
	Sleep Sleep `json:"sleep"`
}

// BaseLinks are the links of a base resource. At most one of DeploymentBase, CancelAction and
// ConfirmationBase is set. An empty link is not written.
type BaseLinks struct {
	DeploymentBase   Link `json:"deploymentBase,omitzero"`
	CancelAction     Link `json:"cancelAction,omitzero"`
	ConfirmationBase Link `json:"confirmationBase,omitzero"`
	InstalledBase    Link `json:"installedBase,omitzero"`
	ConfigData       Link `json:"configData,omitzero"`
}

// AppendJSON appends the document as Marshal encodes it, but faster: it is the response to every
// poll.
func (b *Base) AppendJSON(to []byte) []byte {
	to = append(to, `{"config":{"polling":{"sleep":"`...)
	to = b.Config.Polling.Sleep.appendTo(to)
	to = append(to, `"}}`...)
	before, after := `,"_links":{`, ""
	for _, l := range [...]struct{ name, href string }{
		{`"deploymentBase":{"href":`, b.Links.DeploymentBase.Href},
		{`"cancelAction":{"href":`, b.Links.CancelAction.Href},
		{`"confirmationBase":{"href":`, b.Links.ConfirmationBase.Href},
		{`"installedBase":{"href":`, b.Links.InstalledBase.Href},
		{`"configData":{"href":`, b.Links.ConfigData.Href},
	} {
		if l.href != "" {
			to = append(append(to, before...), l.name...)
			to = append(appendText(to, l.href), '}')
			before, after = ",", "}"
		}
	}
	return append(append(to, after...), '}')
}

const (
	minSleep = time.Second
	maxSleep = 24*time.Hour - time.Second
)

// Sleep is a poll interval. It is written as HH:MM:SS and never as an ISO-8601 duration, which no
// known client can read. It is rounded up to whole seconds, and is between 00:00:01, so that no
// client polls in a loop, and 23:59:59.
type Sleep time.Duration

// Duration returns the interval as it is written.
func (s Sleep) Duration() time.Duration {
	d := (time.Duration(s) + time.Second - 1).Truncate(time.Second)
	return min(max(d, minSleep), maxSleep)
}

// String returns the interval as HH:MM:SS.
func (s Sleep) String() string { return string(s.appendTo(nil)) }

// appendTo appends HH:MM:SS: the time of a day at which the interval has passed since its start.
func (s Sleep) appendTo(to []byte) []byte {
	return time.Time{}.Add(s.Duration()).AppendFormat(to, time.TimeOnly)
}

// MarshalText returns HH:MM:SS.
func (s Sleep) MarshalText() ([]byte, error) {
	return s.appendTo(nil), nil
}

// UnmarshalText reads HH:MM:SS.
func (s *Sleep) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), ":")
	if len(parts) != 3 {
		return fmt.Errorf("config.polling.sleep must be HH:MM:SS, got %q", text)
	}
	total := 0
	for i, limit := range []int{23, 59, 59} {
		n, err := strconv.Atoi(parts[i])
		if err != nil || len(parts[i]) != 2 || n < 0 || n > limit {
			return fmt.Errorf("config.polling.sleep must be HH:MM:SS, got %q", text)
		}
		total = total*60 + n
	}
	*s = Sleep(time.Duration(total) * time.Second)
	return nil
}
