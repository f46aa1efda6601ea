package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestZZ(t *testing.T) {
	w := newRace(t)
	for range 7 {
		stale := w.rollout()
		r, told := w.look(w.old, stale)
		won := w.rollout()
		t.Log(r, told, cmp.Diff(stale, won))
		r, told = w.look(w.new, stale)
		t.Log("LOSER", r, told, won.ResourceVersion, w.rollout().ResourceVersion)
		w.now = w.now.Add(2e9)
		w.sync()
	}
	for _, g := range w.groups() { t.Logf("%+v", g) }
}
