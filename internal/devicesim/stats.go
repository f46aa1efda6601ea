// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"sync/atomic"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// Stats are a fleet's counters since its creation, except Devices and Busy, which are present
// values.
type Stats struct {
	Devices         int64
	Busy            int64 // devices with an open action
	Polls           int64
	Started         int64
	Reports         int64
	Succeeded       int64
	Failed          int64
	Canceled        int64
	CancelsRejected int64
	Confirmations   int64
	AttributesSent  int64
	Downloads       int64
	DownloadedBytes int64
	Dropped         int64
	HTTPErrors      int64
	// Connected are the present connections with MQTT, and ConnectionErrors those that failed.
	Connected, ConnectionErrors int64
	// LastError is the newest HTTPError or ConnectionError in one sentence, or "".
	LastError string
}

type tally struct {
	busy, bytes         atomic.Int64
	succeeded, failed   atomic.Int64
	polled, started     atomic.Int64
	reported, attrs     atomic.Int64
	canceled, rejected  atomic.Int64
	confirmed, fetched  atomic.Int64
	dropped, httpErrors atomic.Int64
	connected           atomic.Int64
	connectionErrors    atomic.Int64
	lastError           atomic.Pointer[string]
}

func (t *tally) count(e Event) {
	switch e.Kind {
	case Polled:
		t.polled.Add(1)
	case Started:
		t.started.Add(1)
	case Reported:
		t.reported.Add(1)
	case Closed:
		t.countResult(e.Status.Result.Finished)
	case Canceled:
		t.canceled.Add(1)
	case CancelRejected:
		t.rejected.Add(1)
	case Confirmed:
		t.confirmed.Add(1)
	case AttributesSent:
		t.attrs.Add(1)
	case Downloaded:
		t.fetched.Add(1)
	case Dropped:
		t.dropped.Add(1)
	case Connected:
		t.connected.Add(1)
	case Disconnected:
		t.connected.Add(-1)
	case ConnectionError:
		t.connectionErrors.Add(1)
		t.lastError.Store(&e.Message)
	case HTTPError:
		t.httpErrors.Add(1)
		t.lastError.Store(&e.Message)
	}
}

func (t *tally) countResult(finished wire.Finished) {
	if finished == wire.FinishedFailure {
		t.failed.Add(1)
	} else {
		t.succeeded.Add(1)
	}
}

// Stats returns the counters. It may be called at any time.
func (f *Fleet) Stats() Stats {
	t := &f.tally
	s := Stats{
		Busy: t.busy.Load(), Polls: t.polled.Load(), Started: t.started.Load(), Reports: t.reported.Load(),
		Succeeded: t.succeeded.Load(), Failed: t.failed.Load(), Canceled: t.canceled.Load(),
		CancelsRejected: t.rejected.Load(), Confirmations: t.confirmed.Load(), AttributesSent: t.attrs.Load(),
		Downloads: t.fetched.Load(), DownloadedBytes: t.bytes.Load(), Dropped: t.dropped.Load(),
		HTTPErrors: t.httpErrors.Load(), Connected: t.connected.Load(), ConnectionErrors: t.connectionErrors.Load(),
	}
	if last := t.lastError.Load(); last != nil {
		s.LastError = *last
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Devices = int64(len(f.devices) + len(f.agents))
	return s
}
