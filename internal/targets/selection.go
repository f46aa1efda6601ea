package targets

import (
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// NoteSelection remembers when labels, type or attributes last changed: what selects the target may be new since then.
func NoteSelection(t *v1alpha1.Target, status *v1alpha1.TargetStatus, now time.Time) {
	hash := selectionHash(t, status)
	if status.SelectionHash == hash {
		return
	}
	if status.SelectionHash != "" {
		status.SelectionChangedAt = &metav1.MicroTime{Time: now}
	}
	status.SelectionHash = hash
}

func selectionHash(t *v1alpha1.Target, status *v1alpha1.TargetStatus) string {
	encoded, err := json.Marshal([]any{t.Labels, t.Spec.Type, status.Attributes}) // encoding/json sorts the keys of maps
	if err != nil {
		panic(err) // maps of strings always encode
	}
	h := fnv.New64a()
	h.Write(encoded)
	return hex.EncodeToString(h.Sum(nil))
}
