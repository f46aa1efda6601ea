// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crash lets Goshawk die, lose replies and be refused at every write it makes, and asks
// each time for the end that an undisturbed run comes to.
//
// A scenario is run once undisturbed on a real API server, which tells the writes it takes. Then it
// is run again for each of these writes and each fault, in a fresh namespace that is all the
// process can see:
//
//	CrashAfter   the process dies when the write is stored, before it hears so      (Sieve: intermediate state)
//	CrashBefore  it dies when it is about to write
//	ReplyLost    the write is stored, and the process hears of a broken connection or of a 504
//	Refused      the write is refused with 409, 500, 503 and 429, one after the other, and then taken
//
// One fault in three is told of the life of a rollout, and one in eight of the other verbs, always
// the same ones; GOSHAWK_CRASH=every tells all of them.
//
// All the time an object of each kind exists that cannot be decoded; see unreadable_test.go.
//
// A process that died is followed by a new one on the same API server. The devices are driven by
// hand, in a fixed order, through the device API. Meanwhile every state of every object is recorded
// and held against the invariants; see truth_test.go.
package crash

import (
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) {
	cluster.AtOnce(16) // a run mostly waits, and sees nothing of the others
	ctrl.SetLogger(logr.New(complaints))
	cluster.BeforeStop(complaints.withoutRun)
	cluster.Main(m, otherCRDs)
}

func TestPlan(t *testing.T)           { testFaults(t, plan) }
func TestStart(t *testing.T)          { testFaults(t, start) }
func TestEvaluate(t *testing.T)       { testFaults(t, evaluate) }
func TestInvalidateSoft(t *testing.T) { testFaults(t, invalidateSoft) }

func TestInvalidateForce(t *testing.T) { testFaults(t, invalidateForce) }

func TestRemove(t *testing.T)    { testFaults(t, remove) }
func TestJoin(t *testing.T)      { testFaults(t, join) }
func TestApprove(t *testing.T)   { testFaults(t, approve) }
func TestConfirm(t *testing.T)   { testFaults(t, confirm) }
func TestSingle(t *testing.T)    { testFaults(t, single) }
func TestAuto(t *testing.T)      { testFaults(t, auto) }
func TestRetry(t *testing.T)     { testFaults(t, retry) }
func TestDeadlines(t *testing.T) { testFaults(t, deadlines) }
func TestBudget(t *testing.T)    { testFaults(t, budget) }
