// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crash injects a fault at every write of Goshawk (a crash, a lost reply, a refusal), and
// requires the same end as that of a run without a fault.
//
// A scenario is run once without a fault on a real API server, which gives the list of writes. Then
// it is run again for each of these writes and each fault, in a new namespace to which the process
// is restricted:
//
//	CrashAfter   the process ends when the write is stored, before the response     (Sieve: intermediate state)
//	CrashBefore  the process ends before the write
//	ReplyLost    the write is stored, and the process gets a broken connection or a 504
//	Refused      the write is refused with 409, 500, 503 and 429, one after the other, and then accepted
//
// Of the scenarios of a rollout one fault in nine is run, and of the other operations one in 24,
// always the same ones. GOSHAWK_CRASH=many, which is `make test-crash` and part of CI, runs three
// times as many, and GOSHAWK_CRASH=every runs all of them.
//
// In every run an object of each kind exists that cannot be decoded; see unreadable_test.go.
//
// After a crash a new process is started on the same API server. The scenario calls the steps of
// the devices in a fixed order. Every state of every object is recorded and checked with the
// invariants; see truth_test.go.
package crash

import (
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) {
	if _, known := sparse[density]; !known {
		panic("GOSHAWK_CRASH is neither empty nor many nor every")
	}
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
