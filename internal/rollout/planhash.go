package rollout

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// PlanHash is what an approval agrees to: SHA-256 over the set's contentHash, the fingerprint of the spec that was planned, and the ordered groups with names,
// conditions and target names. The spec is part of it because an edit of, say, a maintenance window before the start needs a new approval, too. Every text goes
// in with its length before it, every list with its count, so that no two plans read alike.
func PlanHash(contentHash, specHash string, groups []PlannedGroup) string {
	d := digest{sha256.New()}
	d.text(contentHash)
	d.text(specHash)
	d.number(len(groups))
	for _, g := range groups {
		d.text(g.Name)
		d.conditions(g.Conditions)
		d.number(len(g.Targets))
		for _, name := range g.Targets {
			d.text(name)
		}
	}
	return "sha256:" + hex.EncodeToString(d.Sum(nil))
}

type digest struct{ hash.Hash }

func (d digest) number(n int) {
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], uint64(n))
	d.Write(wide[:])
}

func (d digest) text(s string) {
	d.number(len(s))
	io.WriteString(d, s)
}

func (d digest) conditions(c v1alpha1.GroupConditions) {
	d.number(int(c.SuccessThreshold))
	d.text(string(c.SuccessAction))
	d.number(int(c.ErrorThreshold))
	d.text(string(c.ErrorAction))
	confirmation := 0
	if c.ConfirmationRequired {
		confirmation = 1
	}
	d.number(confirmation)
}

// SpecHash is a fingerprint of the fields that a plan is made from. What is wanted now (state, startAt, approval, resumedAt, advance,
// retry, cancelations) and what is only asked while running (errorBudget, minimumReports, settleSeconds) is not among them.
func SpecHash(spec *v1alpha1.RolloutSpec) string {
	planned := v1alpha1.RolloutSpec{
		Update:           spec.Update,
		Selection:        spec.Selection,
		GroupCount:       spec.GroupCount,
		Groups:           spec.Groups,
		GroupOrder:       spec.GroupOrder,
		SuccessThreshold: spec.SuccessThreshold,
		SuccessAction:    spec.SuccessAction,
		ErrorThreshold:   spec.ErrorThreshold,
		ErrorAction:      spec.ErrorAction,
		Dynamic:          spec.Dynamic,
	}
	text, err := json.Marshal(&planned)
	if err != nil {
		panic("a RolloutSpec cannot be written as JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
