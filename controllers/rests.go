package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// rests keep periodic status writes of each object apart. Mere counts wait for their turn; decisions wait for nothing.
type rests struct {
	mu    sync.Mutex
	until map[types.UID]time.Time
}

// left is how long an object still rests.
func (r *rests) left(uid types.UID, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.until[uid].Sub(now))
}

// begin lets an object rest until then.
func (r *rests) begin(uid types.UID, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = map[types.UID]time.Time{}
	}
	r.until[uid] = until
}

// forget an object that is gone.
func (r *rests) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.until, uid)
}
