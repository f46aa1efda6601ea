// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// State is the content of the state file. Its schema is docs/agent-state.schema.json.
type State struct {
	// Consistent is false if some software is neither on its old nor on its new version.
	Consistent bool `json:"consistent"`
	// Phase is what the agent does now, or Idle or Inconsistent.
	Phase update.Phase `json:"phase"`
	// Installed is the software on the device, sorted by type and name.
	Installed []Software `json:"installed"`
	// Inconsistency is set if Consistent is false.
	Inconsistency *Inconsistency `json:"inconsistency,omitempty"`
	// Update is the update in progress.
	Update *Progress `json:"update,omitempty"`
	// Question is an update of the server that waits for the confirmation of a person at the
	// device. It is set until the server has the answer.
	Question *Question `json:"question,omitempty"`
	// Last is how the last update ended.
	Last *End `json:"last,omitempty"`
	// Server is the connection to the server. It is absent without a server, and from a start of
	// the agent to the end of its first visit to the server.
	Server *Connection `json:"server,omitempty"`
}

// Connection is the connection to the server of the device. The file has it as it was when the file
// was written: the agent writes the file when the connection is lost or there again, and not at
// each visit.
type Connection struct {
	// Address is that of the device at the server.
	Address string `json:"address"`
	// Connected says that the last visit to the server did all that it should.
	Connected bool `json:"connected"`
	// Since is the time of the first visit with this value of Connected.
	Since time.Time `json:"since"`
	// LastContact is when the server last said whether it has an update.
	LastContact *time.Time `json:"lastContact,omitempty"`
	// Error says why the last visit failed.
	Error string `json:"error,omitempty"`
}

// Software is one installed module.
type Software struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Inconsistency says which software is in an unknown state since when, and why.
type Inconsistency struct {
	Update   string     `json:"update"`
	Since    time.Time  `json:"since"`
	Reason   string     `json:"reason"`
	Software []Software `json:"software"`
}

// Progress is the update in progress.
type Progress struct {
	ID      string        `json:"id"`
	Source  update.Source `json:"source"`
	Started time.Time     `json:"started"`
	Changes []Change      `json:"changes"`
	Failure string        `json:"failure,omitempty"`
}

// Question is an update that waits for a person. Answer is empty before the answer.
type Question struct {
	ID       string        `json:"id"`
	Software []Software    `json:"software"`
	Answer   update.Answer `json:"answer,omitempty"`
}

// Change is one module of an update.
type Change struct {
	Software
	Removes bool         `json:"removes,omitempty"`
	Stage   update.Stage `json:"stage"`
}

// End is the result of an update.
type End struct {
	ID      string         `json:"id"`
	Source  update.Source  `json:"source"`
	Ended   time.Time      `json:"ended"`
	Outcome update.Outcome `json:"outcome"`
	Code    string         `json:"code,omitempty"`
	Message string         `json:"message,omitempty"`
	Changes []Change       `json:"changes"`
}

// StateOf returns the state of a document.
func StateOf(d *update.Document) State {
	s := State{Consistent: d.Inconsistency == nil, Phase: d.PhaseOf(), Installed: softwareOf(d.Installed)}
	if i := d.Inconsistency; i != nil {
		s.Inconsistency = &Inconsistency{i.Update, i.Since, i.Reason, softwareOf(i.Modules)}
	}
	if u := d.Update; u != nil {
		s.Update = &Progress{ID: u.ID, Source: u.Source, Started: u.Started, Changes: changesOf(u.Changes)}
		if u.Failure != nil {
			s.Update.Failure = u.Failure.Message
		}
	}
	if q := d.Question; q != nil {
		s.Question = &Question{q.ID, softwareOf(q.Modules), q.Answer}
	}
	if r := d.Ended; r != nil {
		end := EndOf(r)
		s.Last = &end
	}
	return s
}

// EndOf returns a result in the form of the state file.
func EndOf(r *update.Result) End {
	e := End{ID: r.ID, Source: r.Source, Ended: r.Ended, Outcome: r.Outcome, Code: r.Code, Changes: changesOf(r.Changes)}
	if r.Failure != nil {
		e.Code, e.Message = r.Failure.Code, r.Failure.Message
	}
	return e
}

func softwareOf(modules []update.Module) []Software {
	out := make([]Software, 0, len(modules))
	for _, m := range modules {
		out = append(out, Software{m.Type, m.Name, m.Version})
	}
	return out
}

func changesOf(changes []update.Change) []Change {
	out := make([]Change, 0, len(changes))
	for _, c := range changes {
		out = append(out, Change{Software{c.Type, c.Name, c.Version}, c.Removes, c.Stage})
	}
	return out
}
