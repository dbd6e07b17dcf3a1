// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: BO_USERPTR, objects of memory that a program has already.
 *
 * The pages that are mapped when the object is made are pinned and charged to the
 * process until the object is freed, and a buffer that the host has holds the
 * object. Nothing follows the mapping after that: without a notifier there is
 * nothing that could take pages from the host and fail. The program's memory is
 * never exported, and mapped by nobody but itself.
 *
 * Addresses come from user space. Only memory that stays the program's own when it
 * is written to by others is taken: no files, whose write-back would not be
 * noticed, and nothing of drivers.
 */
#include <linux/capability.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_gem.h>

#include "virtbuf_drv.h"

/**
 * struct virtbuf_userptr - memory of a program
 * @bo: its pages are pinned
 * @mm: charged for them; kept for its counter alone
 */
struct virtbuf_userptr {
	struct virtbuf_bo bo;
	struct mm_struct *mm;
};

/* As mlock() */
static int virtbuf_charge(struct mm_struct *mm, unsigned long count)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;

	if (atomic64_add_return(count, &mm->pinned_vm) > limit &&
	    !capable(CAP_IPC_LOCK)) {
		atomic64_sub(count, &mm->pinned_vm);
		return -ENOMEM;
	}
	return 0;
}

static bool virtbuf_vma_is_memory(struct vm_area_struct *vma)
{
	if (vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP))
		return false;
	return vma_is_anonymous(vma) || is_vm_hugetlb_page(vma) ||
	       (vma->vm_file && shmem_mapping(vma->vm_file->f_mapping));
}

static int virtbuf_check_mappings(struct mm_struct *mm, unsigned long start,
				  unsigned long end)
{
	VMA_ITERATOR(vmi, mm, start);
	struct vm_area_struct *vma;

	mmap_assert_locked(mm);

	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_start > start)
			return -EFAULT;
		if (!virtbuf_vma_is_memory(vma))
			return -EOPNOTSUPP;
		start = vma->vm_end;
	}
	return start < end ? -EFAULT : 0;
}

/* All of them or none; killable */
static int virtbuf_pin(struct mm_struct *mm, unsigned long start,
		       unsigned long count, struct page **pages)
{
	long pinned;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	pinned = virtbuf_check_mappings(mm, start,
					start + (count << PAGE_SHIFT));
	if (!pinned)
		pinned = pin_user_pages(start, count,
					FOLL_LONGTERM | FOLL_WRITE, pages);
	mmap_read_unlock(mm);

	if (pinned == count)
		return 0;
	if (pinned < 0)
		return pinned;
	unpin_user_pages(pages, pinned);
	return fatal_signal_pending(current) ? -EINTR : -EFAULT;
}

static void virtbuf_userptr_free(struct drm_gem_object *obj)
{
	struct virtbuf_bo *bo = to_virtbuf_bo(obj);
	struct virtbuf_userptr *userptr = container_of(bo,
						       struct virtbuf_userptr,
						       bo);
	unsigned long count = obj->size >> PAGE_SHIFT;

	/* The host may have written to them */
	unpin_user_pages_dirty_lock(bo->pages, count, true);
	atomic64_sub(count, &userptr->mm->pinned_vm);
	mmdrop(userptr->mm);
	drm_gem_object_release(obj);
	kvfree(bo->pages);
	kfree(userptr);
}

static struct dma_buf *virtbuf_userptr_export(struct drm_gem_object *obj,
					      int flags)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static enum drm_gem_object_status
virtbuf_userptr_status(struct drm_gem_object *obj)
{
	return DRM_GEM_OBJECT_RESIDENT;
}

static const struct drm_gem_object_funcs virtbuf_userptr_funcs = {
	.free = virtbuf_userptr_free,
	.export = virtbuf_userptr_export,
	.status = virtbuf_userptr_status,
};

/* Returns the object with one reference, the caller's, or an ERR_PTR() */
static struct virtbuf_bo *virtbuf_userptr_create(struct virtbuf_device *vb,
						 unsigned long start,
						 size_t size)
{
	unsigned long count = size >> PAGE_SHIFT;
	struct mm_struct *mm = current->mm;
	struct virtbuf_userptr *userptr;
	struct virtbuf_bo *bo;
	int ret = -ENOMEM;

	userptr = kzalloc(sizeof(*userptr), GFP_KERNEL_ACCOUNT);
	if (!userptr)
		return ERR_PTR(-ENOMEM);
	bo = &userptr->bo;
	bo->pages = kvmalloc_array(count, sizeof(*bo->pages),
				   GFP_KERNEL_ACCOUNT);
	if (!bo->pages)
		goto err_free;
	ret = virtbuf_charge(mm, count);
	if (ret)
		goto err_free;
	ret = virtbuf_pin(mm, start, count, bo->pages);
	if (ret)
		goto err_charge;

	mmgrab(mm);
	userptr->mm = mm;
	bo->ops = &virtbuf_pages_ops;
	bo->shmem.base.funcs = &virtbuf_userptr_funcs;
	drm_gem_private_object_init(vb->drm, &bo->shmem.base, size);
	return bo;

err_charge:
	atomic64_sub(count, &mm->pinned_vm);
err_free:
	kvfree(bo->pages);
	kfree(userptr);
	return ERR_PTR(ret);
}

/**
 * virtbuf_ioctl_bo_userptr - DRM_IOCTL_VIRTBUF_BO_USERPTR
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_bo_userptr
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_bo_userptr(struct drm_device *drm, void *data,
			     struct drm_file *drm_file)
{
	struct virtbuf_device *vb = to_virtbuf(drm);
	struct drm_virtbuf_bo_userptr *args = data;
	struct virtbuf_bo *bo;
	u32 handle;
	int ret;

	if (args->flags || !args->size ||
	    !PAGE_ALIGNED(args->addr | args->size))
		return -EINVAL;
	if (!access_ok(u64_to_user_ptr(args->addr), args->size))
		return -EFAULT;
	if (args->size > vb->limits.max_total_size ||
	    args->size >> PAGE_SHIFT >= INT_MAX)
		return -E2BIG;

	bo = virtbuf_userptr_create(vb, untagged_addr(args->addr), args->size);
	if (IS_ERR(bo))
		return PTR_ERR(bo);
	ret = drm_gem_handle_create(drm_file, &bo->shmem.base, &handle);
	drm_gem_object_put(&bo->shmem.base);
	if (ret)
		return ret;

	args->handle = handle;
	return 0;
}
